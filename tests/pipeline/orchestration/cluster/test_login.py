"""A token or a cookie over TLS: what is shown to the API, what is said without one, and that no secret is kept anywhere."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from pipeline.config.config import load
from pipeline.config.login import Login
from pipeline.orchestration.cluster import compiler, package, schedule
from pipeline.orchestration.cluster.client import Cluster

TOKEN = "eyJhbGciOiJSUzI1NiJ9.c2VjcmV0.Zm9yLXRoZS10ZXN0"
COOKIE = "authservice_session=MTczMjYyMjQwMHxzZWNyZXQ="
LOGIN_PAGE = (302, {"Location": "/dex/auth?client_id=kubeflow&state=c2VjcmV0"}, "")
PAGE = (200, {"Content-Type": "text/html"}, "<html>Sign in</html>")


@pytest.fixture
def places(tmp_path: Path, authority, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the secrets are, as a user has them; and nowhere else below the home directory."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("KF_TOKEN", TOKEN)
    monkeypatch.setenv("KF_COOKIE", COOKIE)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ways(places: Path) -> dict[str, tuple[str, tuple[str, str]]]:
    """The key that logs in, with the header that it makes."""
    return {
        "token_env": ("cluster.token_env=KF_TOKEN", ("Authorization", f"Bearer {TOKEN}")),
        "token_file": (f"cluster.token_file={places / 'token'}", ("Authorization", f"Bearer {TOKEN}")),
        "cookie_env": ("cluster.cookie_env=KF_COOKIE", ("Cookie", COOKIE)),
    }


@pytest.mark.parametrize("way", ["token_env", "token_file", "cookie_env"])
def test_every_command_logs_in_and_keeps_no_secret(way, guarded, places, submission, stemline, caplog) -> None:
    override, guarded.wanted = ways(places)[way]
    guarded.multi_user = True
    (places / "mine.yaml").write_text(
        f"extends: demo\nname: demo\ncluster: {{host: '{guarded.host}', namespace: music, ca_file: ca.pem}}\n"
    )
    common = ("--recipe", "mine.yaml", "--set", override)
    file = ("--pipeline", str(submission.file))
    said = [stemline(*words, *common) for words in (("submit", *file), *2 * [("schedule", *file)], ("status",))]
    assert [code for code, _ in said] == [0, 0, 0, 0], said
    assert f"': {guarded.host}/#/runs/details/run-" in said[0][1]
    assert "created" in said[1][1]
    assert "nothing changed" in said[2][1]
    assert "active" in said[3][1]
    assert len(guarded.recurring) == len(guarded.runs) == 1
    [experiment] = guarded.experiments.values()
    assert experiment["namespace"] == "music"

    kept = [text for _, text in said] + guarded.asked + [caplog.text]
    kept += [path.read_text() for path in places.rglob("*") if path.is_file() and path.name != "token"]
    assert len(guarded.asked) > 10
    for secret in (TOKEN, COOKIE.partition("=")[2]):
        assert not any(secret in text for text in kept)
    # Nor do the keys travel: they say nothing to a cluster.
    assert not any(word in text for text in guarded.asked for word in ("KF_TOKEN", "KF_COOKIE", "ca.pem", guarded.host))


@pytest.mark.parametrize(
    ("denial", "words"),
    [
        ((401, {}, "Jwt is missing"), r"wants a login \(401 Unauthorized: Jwt is missing\)"),
        ((403, {}, "<html>403</html>"), r"wants a login \(403 Forbidden\)"),
        (LOGIN_PAGE, r"wants a login \(302 Found: it sends the call to /dex/auth\)"),
        (PAGE, r"is not Kubeflow Pipelines' API but a page \(text/html\)"),
    ],
)
def test_without_a_login_one_sentence_says_what_to_set(denial, words, guarded, places, submission, stemline) -> None:
    guarded.wanted, guarded.denial = ("Cookie", COOKIE), denial
    common = ("--host", guarded.host, "--set", "cluster.ca_file=ca.pem")
    file = ("--pipeline", str(submission.file))
    for command in (("submit", *file), ("schedule", *file), ("status",)):
        code, said = stemline(*command, *common)
        assert (code, said.count("\n")) == (2, 1), said
        assert said.startswith("stemline: ")
        with pytest.raises(ValueError, match=words):
            raise ValueError(said)
        assert "cluster.token_env, cluster.token_file or cluster.cookie_env" in said
    assert not guarded.runs


def test_a_login_that_is_not_taken_is_named_and_not_repeated(guarded, places, submission, stemline) -> None:
    guarded.wanted = ("Authorization", "Bearer another")
    common = ("--host", guarded.host, "--set", "cluster.ca_file=ca.pem", "--set", "cluster.token_env=KF_TOKEN")
    for denial in ((401, {}, f"no such token: {TOKEN}"), (403, {}, json.dumps({"message": f"{TOKEN} is of nobody"}))):
        guarded.denial = denial
        code, said = stemline("status", *common)
        assert (code, said.count("\n")) == (2, 1)
        assert "does not let the token of cluster.token_env (KF_TOKEN) in: 40" in said
        assert TOKEN not in said
        assert "***" in said


def test_a_user_without_a_right_is_told_so_and_not_to_log_in(guarded, places, submission) -> None:
    """As Kubeflow Pipelines 2.17.0 refuses one (backend/src/apiserver/resource/resource_manager.go, `IsAuthorized`)."""
    words = "User 'ada@example.com' is not authorized with reason:  (request: &ResourceAttributes{Namespace:music,...})"
    denial = (403, {"Content-Type": "application/json"}, json.dumps({"code": 7, "message": words, "details": []}))
    for multi_user, place in ((True, " in the namespace 'music' of cluster.namespace: 403"), (False, " there: 403")):
        guarded.wanted, guarded.multi_user = ("Authorization", f"Bearer {TOKEN}"), multi_user
        cluster = Cluster(guarded.host, "music", Login(token_env="KF_TOKEN", ca_file="ca.pem"))
        guarded.wanted, guarded.denial = ("Authorization", "Bearer of another"), denial
        with pytest.raises(ValueError, match="is not authorized") as caught:
            cluster.submit(submission)
        assert place in str(caught.value)
        assert not any(word in str(caught.value) for word in ("token_env", "expired", "login"))


@pytest.mark.parametrize(
    "body", ["", "<html>404</html>", "default backend - 404", '"gone"', '{"kind": "Status", "code": 404}']
)
def test_a_404_of_another_server_asks_about_the_path(body, guarded, places, stemline) -> None:
    guarded.wanted, guarded.denial = ("Cookie", COOKIE), (404, {}, body)
    code, said = stemline("status", "--host", guarded.host, "--set", "cluster.ca_file=ca.pem")
    assert (code, said.count("\n")) == (2, 1)
    assert "404 Not Found" in said
    assert "below /pipeline, so that cluster.host ends in it" in said


def test_a_404_of_kubeflow_does_not(guarded, places) -> None:
    cluster = Cluster(guarded.host, "kubeflow", Login(ca_file="ca.pem"))
    missing = json.dumps({"code": 5, "message": "Run 7 not found"})
    guarded.wanted, guarded.denial = ("Cookie", COOKIE), (404, {}, missing)
    with pytest.raises(ValueError, match=r"refused with 404 Not Found: Run 7 not found$"):
        cluster.run("7")


def test_a_session_that_ends_half_way_is_no_empty_answer(guarded, places, submission) -> None:
    """A client that followed would read the page for the login as an experiment without an id."""
    cluster = Cluster(guarded.host, "kubeflow", Login(cookie_env="KF_COOKIE", ca_file="ca.pem"))
    guarded.wanted, guarded.denial = ("Cookie", "another"), LOGIN_PAGE
    before = len(guarded.asked)
    with pytest.raises(ValueError, match=r"does not let the cookie of cluster\.cookie_env \(KF_COOKIE\) in: 302 Found"):
        cluster.submit(submission)
    assert len(guarded.asked) == before + 1, "the redirect was followed"


def test_a_token_that_is_renewed_while_a_command_runs_is_read_again(guarded, places, submission) -> None:
    guarded.wanted = ("Authorization", f"Bearer {TOKEN}")
    cluster = Cluster(guarded.host, "kubeflow", Login(token_file="token", ca_file="ca.pem"))
    guarded.wanted = ("Authorization", "Bearer renewed")
    (places / "token").write_text("renewed")
    cluster.submit(submission)
    assert len(guarded.runs) == 1


def test_the_servers_authority(guarded, places, stemline) -> None:
    code, said = stemline("status", "--host", guarded.host)
    assert (code, said.count("\n")) == (2, 1)
    assert f"no Kubeflow Pipelines can be reached at {guarded.host}: " in said
    assert "CERTIFICATE_VERIFY_FAILED" in said
    assert "cluster.ca_file names" in said
    assert not guarded.asked
    for file, words in (("token", "which holds no certificate in PEM"), ("none.pem", "No such file or directory")):
        code, said = stemline("status", "--host", guarded.host, "--set", f"cluster.ca_file={file}")
        assert (code, said.count("\n")) == (2, 1)
        assert words in said
        assert TOKEN not in said
    code, said = stemline("status", "--set", "cluster.ca_file=ca.pem")
    assert code == 2
    assert "the host is http://localhost:8080: legal only with https://" in said


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["token_env=A", "token_file=b"], "cluster.token_env and cluster.token_file are both set: legal is one of"),
        (["token_file=b", "cookie_env=C"], "cluster.token_file and cluster.cookie_env are both set: legal is one of"),
        ([f"token_env={TOKEN}"], "cluster.token_env is not the name of an environment variable"),
        ([f"cookie_env={COOKIE}"], "cluster.cookie_env is not the name of an environment variable"),
        (["host=localhost:8080"], "cluster.host is 'localhost:8080': legal are http://HOST and https://HOST"),
        (["host=https://me:secret@kf.example.com"], "cluster.host names a user before 'kf.example.com'"),
    ],
)
def test_keys_that_cannot_be(overrides, words) -> None:
    with pytest.raises(ValueError, match="cluster") as caught:
        load("demo", [f"cluster.{override}" for override in overrides])
    assert words in str(caught.value)
    assert not any(secret in str(caught.value) for secret in (TOKEN, COOKIE, "me:secret"))


@pytest.mark.parametrize("value", ["", f"Bearer {TOKEN}", f"{TOKEN}\n{TOKEN}", f"{TOKEN}\udcff", "a\x00b"])
def test_what_is_no_token_is_not_repeated(value, places, monkeypatch: pytest.MonkeyPatch) -> None:
    (places / "token").write_bytes(value.encode(errors="surrogateescape"))
    if "\x00" not in value:
        monkeypatch.setenv("KF_TOKEN", value)
        monkeypatch.setenv("KF_COOKIE", value)
    else:
        monkeypatch.delenv("KF_TOKEN")
        monkeypatch.delenv("KF_COOKIE")
    for login, read in ((Login(token_env="KF_TOKEN"), Login.token), (Login(token_file="token"), Login.token)):
        with pytest.raises(
            ValueError, match=r"of cluster\.token_\w+ .*: legal is one word, the token without 'Bearer'"
        ):
            read(login)
    with pytest.raises(ValueError, match=r"of cluster\.cookie_env .*: legal is NAME=VALUE") as caught:
        Login(cookie_env="KF_COOKIE").cookie()
    assert TOKEN not in str(caught.value)


def test_how_one_gets_there_makes_no_difference_to_what_is_there(guarded, places, submission, stemline) -> None:
    """To the compiled file, to a run, or to the one schedule that two people keep."""
    mine, theirs = (
        load("demo", [f"cluster.host={host}", "cluster.ca_file=ca.pem", f"cluster.token_env={name}"])
        for host, name in ((guarded.host, "KF_TOKEN"), ("https://kf.example.com/pipeline", "THEIRS"))
    )
    package.check_compiled(package.read(submission.file), mine)
    assert package.differences(mine, theirs) == []
    own, other = (dataclasses.replace(submission, config=config) for config in (mine, theirs))
    assert own.name == other.name == submission.name
    assert own.parameters == other.parameters == submission.parameters
    cluster = Cluster(guarded.host, "kubeflow", mine.cluster.login())
    assert schedule.apply(cluster, own).changes == ("created",)
    assert schedule.apply(cluster, other).changes == ()
    files = [places / "mine.yaml", places / "plain.yaml"]
    keys = ("cluster.host=https://kf.example.com", "cluster.token_env=KF_TOKEN", "cluster.ca_file=ca.pem")
    for file, given in zip(files, (keys, ()), strict=True):
        assert stemline("compile", "-o", str(file), *(word for key in given for word in ("--set", key)))[0] == 0
    assert files[0].read_text() == files[1].read_text()
    assert compiler.compile(load("demo")) == package.read(files[0])
