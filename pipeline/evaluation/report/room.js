const find = id => document.getElementById(id);
const player = find("room"), stage = find("stage"), trackField = find("track");
const rooms = JSON.parse(find("rooms").textContent);
const entering = {};
let deck = null, room = null, place = null, target = "", signal = "mixture", stretch = -1;

// A track beside the page comes as a script: a page from the disk may not read files, but may run them.
const enterRoom = entered => { entering.found = entered; };
const roomAt = place => rooms[place] ??= new Promise((done, failed) => {
  const script = document.createElement("script");
  script.src = trackField.querySelector(`[value="${place}"]`).dataset.script;
  script.onload = () => done(entering.found);
  script.onerror = () => { delete rooms[place]; failed(new Error(`${decodeURI(script.src)} is not beside this page`)); };
  document.head.append(script);
});

const clock = seconds => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
const decibel = value => value > 100 ? "> 100 dB" : `${value.toFixed(1).replace("-", "−")} dB`;
const keyOf = name => name === "mixture" ? name : `${target}/${name}`;
const tell = problem => { find("problem").textContent = problem; };
const toggled = (id, pressed) => find(id).setAttribute("aria-pressed", pressed);

const line = (values, x, y) => {
  let path = "", open = false;
  values.forEach((value, place) => {
    if (value !== null) path += `${open ? "L" : "M"}${x(place).toFixed(1)} ${y(value).toFixed(1)}`;
    open = value !== null;
  });
  return path;
};

function draw() {
  const shown = room.signals[keyOf(signal)], wave = shown.wave;
  const loudest = Math.max(1, ...room.signals.mixture.wave);
  const top = wave.map((peak, place) => `${(600 * place / wave.length).toFixed(1)} ${(100 - 98 * Math.min(1, peak / loudest)).toFixed(1)}`);
  const bottom = wave.map((peak, place) => `${(600 * place / wave.length).toFixed(1)} ${(100 + 98 * Math.min(1, peak / loudest)).toFixed(1)}`);
  stage.querySelector(".wave path").setAttribute("d", `M${top.join("L")}L${bottom.reverse().join("L")}Z`);
  Object.assign(stage.querySelector("img"), {src: shown.picture, alt: `Spectrogram of ${room.name}, ${keyOf(signal).replace("/", ", ")}`});
  const frames = room.frames[target], methods = Object.values(frames);
  const highest = clamp(10 * Math.ceil(Math.max(20, ...methods.flatMap(each => each.sdr)) / 10), 20, 40), lowest = -10;
  const x = place => 1000 * (place + 2) * room.hop / room.seconds; // in the middle of its second
  const y = value => 100 - 100 * (clamp(value, lowest, highest) - lowest) / (highest - lowest);
  for (const method of ["estimate", "baseline"]) {
    const values = frames[method === "estimate" ? "model" : method]?.sdr ?? [];
    const lone = values.length === 1 ? [values[0], values[0]] : values; // a track of a second has one frame
    stage.querySelector(`.sdr .${method}`).setAttribute("d", line(lone, values.length === 1 ? place => 1000 * place : x, y));
  }
  const levels = frames.model?.false ?? [], width = 1000 * room.hop / room.seconds;
  stage.querySelector(".sdr .false").innerHTML = levels.map((level, place) => level === null ? "" :
    `<rect x="${x(place) - width / 2}" width="${width}" y="${-clamp(level, -60, 0) / 0.6}" height="${(clamp(level, -60, 0) + 60) / 0.6}"/>`).join("");
  stage.querySelector(".sdr .dashed").setAttribute("d", line(frames.baseline?.false ?? [], x, level => -clamp(level, -60, 0) / 0.6));
  let grid = "";
  for (let value = lowest; value <= highest; value += 10) grid += `<path d="M0 ${y(value)}H1000"${value ? "" : ' class="zero"'}/>`;
  stage.querySelector(".sdr .grid").innerHTML = grid;
  stage.querySelector(".wave-label").textContent = signal === "mixture" ? signal : `${target}, ${signal}`;
  stage.querySelector(".top").textContent = `${room.rate / 2000} kHz`;
  stage.querySelector(".high").textContent = `${highest} dB`;
  stage.querySelector(".label.zero").style.setProperty("--y", y(0) / 100);
  find("targets").querySelectorAll("button").forEach(button => button.setAttribute("aria-pressed", button.dataset.target === target));
  find("signals").querySelectorAll("button").forEach(button => {
    button.setAttribute("aria-pressed", button.dataset.signal === signal);
    button.disabled = !(keyOf(button.dataset.signal) in room.signals);
  });
  document.querySelectorAll(".rival").forEach(each => { each.hidden = !frames.baseline; });
  find("from").textContent = clock(room.start);
  find("to").textContent = `${clock(room.start + room.seconds)} of ${clock(room.duration)}`;
}

function tick() {
  if (!deck) return;
  deck.turn?.();
  if (deck.playing && !deck.loops && deck.position >= deck.seconds - 0.005) { deck.pause(); deck.seek(0); }
  const at = deck.position, percent = seconds => `${100 * seconds / room.seconds}%`;
  stage.querySelector(".playhead").style.left = percent(at);
  const marked = stage.querySelector(".marked");
  marked.hidden = !deck.loop;
  if (deck.loop) Object.assign(marked.style, {left: percent(deck.loop.start), width: percent(deck.loop.end - deck.loop.start)});
  stage.setAttribute("aria-valuemax", room.seconds.toFixed(2));
  stage.setAttribute("aria-valuenow", at.toFixed(3));
  stage.setAttribute("aria-valuetext", clock(room.start + at));
  find("time").textContent = `${clock(room.start + at)} of ${clock(room.duration)}${deck.loop ? `, loop ${clock(room.start + deck.loop.start)}–${clock(room.start + deck.loop.end)}` : ""}`;
  find("readout").textContent = readout(at);
  toggled("play", deck.playing);
  find("play").textContent = deck.playing ? "pause" : "play";
  toggled("loop", deck.loop !== null);
  toggled("mute", muted);
  if (deck.playing && !tick.waiting) {
    tick.waiting = true;
    requestAnimationFrame(() => { tick.waiting = false; tick(); });
  }
}

function readout(at) {
  const names = {model: "estimate", baseline: "baseline"};
  return `${target}: ` + Object.entries(room.frames[target]).map(([method, {sdr, false: level}]) => {
    const place = clamp(Math.round(at / room.hop) - 2, 0, sdr.length - 1);
    return sdr[place] === null ? `${names[method]} ${decibel(level[place])} where the reference is silent` : `${names[method]} SDR ${decibel(sdr[place])}`;
  }).join(", ");
}

function choose(name, of = target) {
  const key = name === "mixture" ? name : `${of}/${name}`;
  if (!(key in room.signals)) return;
  [signal, target] = [name, of];
  deck.choose(key, of);
  draw();
  tick();
}

function play() {
  const playing = deck;
  playing.play().catch(() => { playing.pause(); if (!find("problem").textContent) tell("this audio cannot be played"); }).finally(tick);
  tick();
}
const toggle = () => { if (deck.playing) deck.pause(); else play(); tick(); };
const seek = at => { deck.seek(clamp(at, 0, room.seconds)); tick(); };
function mark(start, end) {
  deck.mark(end - start < 0.05 ? null : {start, end});
  if (deck.loop && (deck.position < start || deck.position >= end)) deck.seek(start);
  tick();
}
const loop = () => deck.loop ? mark(0, 0) : mark(0, room.seconds);
const mute = () => { muted = !muted; deck.mute(); tick(); };

async function enter(wanted) {
  const playing = deck?.playing;
  deck?.pause();
  tell("");
  place = wanted;
  trackField.value = wanted;
  let found;
  try {
    found = await roomAt(wanted);
  } catch (error) {
    if (place === wanted) { tell(error.message); place = null; }
    return false;
  }
  if (place !== wanted) return false; // another one was chosen meanwhile
  room = found;
  deck = room.signals.mixture.audio.startsWith("data:") ? new Excerpt(room) : new Whole(room, path => { deck.pause(); tell(`${decodeURI(path)} is not beside this page`); tick(); }, tick);
  target = target in room.frames ? target : Object.keys(room.frames)[0];
  choose(keyOf(signal) in room.signals ? signal : "mixture");
  if (playing) play();
  return true;
}

async function visit(button) {
  const {begin, end} = button.dataset, wanted = Number(button.dataset.place);
  stretch = stretches.indexOf(button);
  if (wanted !== place && !await enter(wanted)) return;
  choose("estimate", button.dataset.target);
  const start = clamp(begin - room.start, 0, room.seconds);
  mark(start, clamp(end - room.start, 0, room.seconds));
  seek(start);
  play();
}
const stretches = [...document.querySelectorAll(".stretches button")];
stretches.forEach(button => button.addEventListener("click", () => visit(button)));

trackField.addEventListener("change", () => enter(Number(trackField.value)));
find("targets").addEventListener("click", event => { if (event.target.dataset.target) choose(signal, event.target.dataset.target); });
find("signals").addEventListener("click", event => { const button = event.target.closest("button"); if (button) choose(button.dataset.signal); });
find("play").addEventListener("click", toggle);
find("loop").addEventListener("click", loop);
find("mute").addEventListener("click", mute);
// A press by the pointer leaves the keys to the player, so that space does not press the same button again.
player.addEventListener("click", event => { if (event.detail && event.target.closest("button")) player.focus({preventScroll: true}); });

const secondsAt = event => {
  const box = stage.getBoundingClientRect();
  return clamp((event.clientX - box.left) / box.width, 0, 1) * room.seconds;
};
let held = null;
stage.addEventListener("pointerdown", event => { if (event.button === 0) { held = {x: event.clientX, at: secondsAt(event)}; stage.setPointerCapture(event.pointerId); } });
stage.addEventListener("pointermove", event => {
  if (held && Math.abs(event.clientX - held.x) > 5) held.dragged = true;
  if (held?.dragged) { const [start, end] = [held.at, secondsAt(event)].sort((a, b) => a - b); mark(start, end); }
});
stage.addEventListener("pointerup", () => { if (held && !held.dragged) seek(held.at); held = null; });
stage.addEventListener("pointercancel", () => { held = null; });

const neighbour = step => {
  const targets = Object.keys(room.frames);
  choose(signal, targets[(targets.indexOf(target) + step + targets.length) % targets.length]);
};
const keys = {
  " ": toggle,
  Home: () => seek(0),
  ArrowLeft: event => seek(deck.position - (event.shiftKey ? 0.1 : 1)),
  ArrowRight: event => seek(deck.position + (event.shiftKey ? 0.1 : 1)),
  ArrowUp: () => neighbour(-1),
  ArrowDown: () => neighbour(1),
  l: loop,
  m: mute,
  a: () => mark(deck.position, deck.loop && deck.loop.end > deck.position ? deck.loop.end : room.seconds),
  b: () => mark(deck.loop && deck.loop.start < deck.position ? deck.loop.start : 0, deck.position),
  n: () => { if (stretches.length) visit(stretches[(stretch + 1) % stretches.length]); },
};
["mixture", "reference", "estimate", "baseline", "residual"].forEach((name, place) => { keys[place + 1] = () => choose(name); });
document.addEventListener("keydown", event => {
  const box = player.getBoundingClientRect(), seen = box.bottom > 0 && box.top < innerHeight;
  const inside = player.contains(event.target), free = event.target === document.body && seen;
  const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || !room || event.ctrlKey || event.altKey || event.metaKey || !inside && !free) return;
  if (event.target.matches("select") || event.key === " " && event.target.matches("button")) return;
  event.preventDefault();
  action(event);
});
enter(0);
