const FADE_SECONDS = 0.015;
let context = null; // the page's AudioContext, from the first press on: browsers allow none before
let output = null;
let muted = false;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Audio inside of the page: all signals run side by side, in step to the sample, and gains let one of them through.
class Excerpt {
  constructor(room) {
    Object.assign(this, {room, seconds: room.seconds, key: "mixture", at: 0, loop: null, playing: false, buffers: {}, gains: {}});
  }
  load() {
    this.loading ??= Promise.all(Object.entries(this.room.signals).map(async ([key, {audio}]) => {
      const bytes = Uint8Array.from(atob(audio.slice(audio.indexOf(",") + 1)), letter => letter.charCodeAt(0));
      this.buffers[key] = await new OfflineAudioContext(1, 1, clamp(this.room.rate, 8000, 96000)).decodeAudioData(bytes.buffer);
    }));
    return this.loading;
  }
  get loops() { return this.loop !== null && this.at < this.loop.end; }
  get position() {
    if (!this.playing) return this.at;
    const now = this.at + Math.max(0, context.currentTime - this.since);
    if (!this.loops || now < this.loop.end) return Math.min(now, this.seconds);
    return this.loop.start + (now - this.loop.start) % (this.loop.end - this.loop.start);
  }
  async play() {
    if (this.playing) return;
    this.playing = true;
    this.since = Infinity;
    if (!context) {
      context = new AudioContext();
      output = context.createGain();
      output.gain.value = Number(!muted);
      output.connect(context.destination);
    }
    await Promise.all([context.resume(), this.load()]);
    if (this.playing) this.start();
  }
  start() {
    this.since = context.currentTime + 0.01;
    this.fader = context.createGain();
    this.fader.gain.setValueAtTime(0, this.since);
    this.fader.gain.linearRampToValueAtTime(1, this.since + FADE_SECONDS);
    this.fader.connect(output);
    this.sources = Object.entries(this.buffers).map(([key, buffer]) => {
      const source = context.createBufferSource(), gain = this.gains[key] = context.createGain();
      source.buffer = buffer;
      gain.gain.value = Number(key === this.key);
      if (this.loops) Object.assign(source, {loop: true, loopStart: this.loop.start, loopEnd: this.loop.end});
      source.connect(gain).connect(this.fader);
      source.start(this.since, this.at);
      return source;
    });
  }
  stop() {
    const end = context.currentTime + FADE_SECONDS;
    this.fader?.gain.cancelScheduledValues(0);
    this.fader?.gain.setTargetAtTime(0, context.currentTime, FADE_SECONDS / 5);
    this.sources?.forEach(source => source.stop(end));
    this.sources = this.fader = null;
  }
  change(values) { // of `at` or `loop`, while it plays or not
    const running = this.playing && this.since < Infinity;
    const at = this.position;
    if (running) this.stop();
    Object.assign(this, {at}, values);
    if (running) this.start();
  }
  pause() {
    if (!this.playing) return;
    const at = this.position;
    if (this.since < Infinity) this.stop();
    Object.assign(this, {at, playing: false});
  }
  seek(at) { this.change({at}); }
  mark(loop) { this.change({loop}); }
  choose(key) {
    this.key = key;
    if (!this.sources) return;
    // Complementary exponentials: what goes and what comes add up to one at any time.
    for (const [name, {gain}] of Object.entries(this.gains)) gain.setTargetAtTime(Number(name === key), context.currentTime, FADE_SECONDS / 3);
  }
  mute() { output?.gain.setTargetAtTime(Number(!muted), context.currentTime, FADE_SECONDS / 3); }
}

// Audio beside the page: whole tracks, streamed by an <audio> for each signal. All of the target's run, one of them is
// loud, and the others are held in step with it by their rates, which nobody hears.
class Whole {
  constructor(room, failed, moved) {
    Object.assign(this, {room, failed, moved, seconds: room.seconds, key: "mixture", at: 0, loop: null, playing: false, elements: {}});
  }
  get loops() { return this.loop !== null && this.at < this.loop.end; }
  get position() { return this.playing && this.active ? Math.min(this.active.currentTime, this.seconds) : this.at; }
  element(key) {
    return this.elements[key] ??= Object.assign(new Audio(this.room.signals[key].audio), {
      preload: "auto", preservesPitch: false, muted, volume: 0, ontimeupdate: this.moved,
      onerror: () => this.failed(this.room.signals[key].audio),
    });
  }
  async play() {
    if (this.playing) return;
    this.playing = true;
    this.active = this.element(this.key);
    this.active.currentTime = this.at;
    this.active.playbackRate = 1;
    this.turned = performance.now();
    await this.active.play();
  }
  turn() { // of every picture that the page draws: what a clock would do
    if (!this.playing) return;
    const now = performance.now(), step = (now - this.turned) / 1000 / (2 * FADE_SECONDS);
    this.turned = now;
    if (this.loops && this.position >= this.loop.end) this.active.currentTime = this.loop.start;
    const at = this.active.currentTime;
    for (const [key, element] of Object.entries(this.elements)) {
      const late = at - element.currentTime, followed = this.followed.includes(key);
      if (element !== this.active && followed && element.readyState > 2 && !element.seeking) {
        if (element.paused) element.play().catch(() => {});
        if (Math.abs(late) > 0.3) element.currentTime = at; else element.playbackRate = clamp(1 + 4 * late, 0.5, 2);
        if (key === this.key && (Math.abs(late) < 0.01 || now - this.chosen > 1500)) {
          this.active = element;
          element.playbackRate = 1;
        }
      }
      element.volume = clamp(element.volume + (element === this.active ? step : -step), 0, 1);
      if (!followed && element !== this.active && element.volume === 0) element.pause();
    }
  }
  pause() {
    if (!this.playing) return;
    Object.assign(this, {at: this.position, playing: false});
    Object.values(this.elements).forEach(element => Object.assign(element, {volume: 0}).pause());
  }
  seek(at) {
    this.at = at;
    Object.values(this.elements).forEach(element => { element.currentTime = at; });
  }
  mark(loop) { Object.assign(this, {at: this.position, loop}); }
  choose(key, target) {
    Object.assign(this, {key, chosen: performance.now()});
    this.followed = Object.keys(this.room.signals).filter(each => each === "mixture" || each.startsWith(`${target}/`));
    this.followed.forEach(each => this.element(each));
  }
  mute() { Object.values(this.elements).forEach(element => { element.muted = muted; }); }
}
