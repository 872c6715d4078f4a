"""Long computations: started, joined, queued, cancelled, found again, and what can go wrong."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from app import jobs as module
from app.jobs import ABSENT, CANCELLED, DONE, FAILED, RUNNING, WAITING, Jobs, JobState, Task
from probe.errors import ProbeError, StoreError
from probe.jobs import Progress
from tests.app.faking import fake_jobs, fake_task, starts


def until(jobs: Jobs, fingerprint: str, *names: str, seconds: float = 20.0) -> JobState:
    """Ask until the state is one of these."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        state = jobs.state(fingerprint)
        if state.name in names:
            return state
        time.sleep(0.01)
    raise AssertionError(f"still {state} and not {names}")


def pid_of(jobs: Jobs, fingerprint: str) -> int:
    return int(jobs.job(fingerprint).process.read_text().split()[0])


def ended(pid: int, seconds: float = 20.0) -> bool:
    """Wait until a process has ended."""
    end = time.monotonic() + seconds
    while not gone(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return gone(pid)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return fake_jobs(tmp_path / "jobs")


def test_a_result_is_made_once_and_found_by_everyone(jobs: Jobs) -> None:
    task = fake_task("one", bytes=3)
    assert jobs.state(task.fingerprint).name == ABSENT
    fingerprint = jobs.submit(task)
    until(jobs, fingerprint, DONE)
    assert (jobs.result(fingerprint) / "answer").read_bytes() == b"xxx"
    assert jobs.submit(fake_task("one", bytes=3)) == fingerprint
    other = fake_jobs(jobs.root)
    assert other.submit(task) == fingerprint and other.state(fingerprint).name == DONE
    assert starts(jobs.root) == ["one"]


def test_fingerprints_tell_all_that_is_asked_apart() -> None:
    one = Task("a", {"x": 1}, Path("/run"), {"weights": "w"}, {"image.png": b"1"})
    others = [
        Task("b", {"x": 1}, Path("/run"), {"weights": "w"}, {"image.png": b"1"}),
        Task("a", {"x": 2}, Path("/run"), {"weights": "w"}, {"image.png": b"1"}),
        Task("a", {"x": 1}, Path("/other"), {"weights": "w"}, {"image.png": b"1"}),
        Task("a", {"x": 1}, Path("/run"), {"weights": "v"}, {"image.png": b"1"}),
        Task("a", {"x": 1}, Path("/run"), {"weights": "w"}, {"image.png": b"2"}),
    ]
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 6
    a, b = Task("a", {"x": 1, "y": 2}, Path("/r")), Task("a", {"y": 2, "x": 1}, Path("/r"))
    assert a.fingerprint == b.fingerprint


def test_progress_is_seen_while_it_runs(jobs: Jobs) -> None:
    fingerprint = jobs.submit(fake_task("slow", seconds=4))
    end = time.monotonic() + 20
    seen: list[Progress] = []
    while time.monotonic() < end and len({one.done for one in seen}) < 3:
        state = jobs.state(fingerprint)
        seen += [state.progress] if state.progress else []
        time.sleep(0.02)
    last = seen[-1]
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    assert last.total == 20 and last.rate and last.left and last.left < 10
    assert jobs.cancel(fingerprint).name == CANCELLED


def test_rate_and_time_left() -> None:
    progress = Progress(done=50, total=200, started=100.0, written=110.0, message="")
    assert progress.rate == 5.0 and progress.left == 30.0
    assert Progress(0, 10, 1.0, 1.0, "").rate is None
    assert Progress(5, None, 1.0, 2.0, "").left is None


def test_two_web_processes_join_one_job(jobs: Jobs) -> None:
    other, task = fake_jobs(jobs.root), fake_task("shared", seconds=0.5)
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda one=one: found.append(one.submit(task)))
        for one in (jobs, other, jobs, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    until(other, found[0], DONE)
    assert starts(jobs.root) == ["shared"]


def test_no_more_than_two_run_and_the_first_comes_first(jobs: Jobs) -> None:
    names = ["a", "b", "c", "d"]
    prints = [jobs.submit(fake_task(name, seconds=30 if name in "ab" else 0)) for name in names]
    other = fake_jobs(jobs.root)
    assert [other.state(one).name for one in prints] == [RUNNING, RUNNING, WAITING, WAITING]
    while len(starts(jobs.root)) < 2:
        time.sleep(0.01)
    other.cancel(prints[0])
    # Nobody has to ask for it: the place goes on to the next when the process has ended.
    end = time.monotonic() + 20
    while starts(jobs.root)[2:] != ["c", "d"] and time.monotonic() < end:
        time.sleep(0.02)
    assert sorted(starts(jobs.root)[:2]) == ["a", "b"] and starts(jobs.root)[2:] == ["c", "d"]
    until(jobs, prints[3], DONE)
    jobs.cancel(prints[1])


def test_a_waiting_job_is_cancelled_without_being_started(jobs: Jobs) -> None:
    first = [jobs.submit(fake_task(name, seconds=30)) for name in "ab"]
    last = jobs.submit(fake_task("c"))
    assert jobs.cancel(last).name == CANCELLED
    for one in first:
        jobs.cancel(one)
        until(jobs, one, CANCELLED)
    assert "c" not in starts(jobs.root)
    assert jobs.state(last).name == CANCELLED


def test_cancelling_ends_the_process_and_leaves_no_result(jobs: Jobs) -> None:
    fingerprint = jobs.submit(fake_task("long", seconds=60))
    pid = pid_of(jobs, fingerprint)
    assert jobs.cancel(fingerprint).name == CANCELLED
    assert ended(pid) and not jobs.job(fingerprint).result.exists()
    with pytest.raises(StoreError, match="no result"):
        jobs.result(fingerprint)


def test_one_that_does_not_listen_is_killed(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.3)
    fingerprint = jobs.submit(fake_task("deaf", seconds=60, stubborn=True))
    while not starts(jobs.root):
        time.sleep(0.01)
    pid = pid_of(jobs, fingerprint)
    jobs.cancel(fingerprint)
    time.sleep(0.1)
    assert not gone(pid)
    assert ended(pid)


def test_a_removed_job_is_gone_and_ends_even_if_it_does_not_listen(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE", 0.3)
    fingerprint = jobs.submit(fake_task("deaf", seconds=60, stubborn=True))
    while not starts(jobs.root):
        time.sleep(0.01)
    pid = pid_of(jobs, fingerprint)
    jobs.remove(fingerprint)
    assert jobs.state(fingerprint).name == ABSENT
    assert not jobs.job(fingerprint).root.exists() and not list(jobs.root.glob("*.old"))
    assert not gone(pid) and ended(pid)
    jobs.remove(fingerprint)
    # The place is free again.
    until(jobs, jobs.submit(fake_task("next")), DONE)


def test_a_cancelled_job_can_be_started_again(jobs: Jobs) -> None:
    fingerprint = jobs.submit(fake_task("again", seconds=0.5))
    jobs.cancel(fingerprint)
    # At once, while the first process may still be ending.
    jobs.submit(fake_task("again", seconds=0.5))
    until(jobs, fingerprint, DONE)
    assert not jobs.job(fingerprint).cancelled.exists()


@pytest.mark.parametrize(("end", "expected"), [("error", True), ("defect", False)])
def test_errors_are_told(jobs: Jobs, end: str, expected: bool) -> None:
    fingerprint = jobs.submit(fake_task("bad", end=end))
    state = until(jobs, fingerprint, FAILED)
    assert (state.error, state.expected) == ("It went wrong.", expected)


def test_a_crash_is_told_and_does_not_stay(jobs: Jobs) -> None:
    fingerprint = jobs.submit(fake_task("crash", end="crash"))
    assert "without a result" in until(jobs, fingerprint, FAILED).error
    # What it had made is not taken for a result, and asking again starts it again.
    assert jobs.job(fingerprint).partial.is_dir() and not jobs.job(fingerprint).result.exists()
    jobs.submit(fake_task("crash", end="crash"))
    until(jobs, fingerprint, FAILED)
    assert starts(jobs.root) == ["crash", "crash"]


def test_the_id_of_a_stranger_is_not_taken_for_the_job(jobs: Jobs) -> None:
    fingerprint = jobs.submit(fake_task("stale", end="crash"))
    until(jobs, fingerprint, FAILED)
    # A living process that has got the id of the one that died.
    jobs.job(fingerprint).process.write_text(f"{os.getpid()} 1.0")
    assert jobs.state(fingerprint).name == FAILED
    assert jobs.cancel(fingerprint).name == FAILED
    jobs.submit(fake_task("stale", end="crash"))
    assert pid_of(jobs, fingerprint) != os.getpid()
    until(jobs, fingerprint, FAILED)


def test_killing_the_process_from_outside_frees_its_place(jobs: Jobs) -> None:
    fingerprint = jobs.submit(fake_task("killed", seconds=60))
    os.killpg(pid_of(jobs, fingerprint), signal.SIGKILL)
    until(jobs, fingerprint, FAILED)
    for name in "ab":
        until(jobs, jobs.submit(fake_task(name, seconds=60)), RUNNING)
        jobs.cancel(fake_task(name, seconds=60).fingerprint)


def test_old_results_make_room(tmp_path: Path) -> None:
    jobs = fake_jobs(tmp_path, limit=25_000)
    prints = []
    for i in range(3):
        prints.append(jobs.submit(fake_task(f"big{i}", bytes=9_000)))
        until(jobs, prints[-1], DONE)
        # A job whose process still lives is not removed.
        assert ended(pid_of(jobs, prints[-1]))
        os.utime(jobs.job(prints[-1]).root, (i, i))
    # Being asked for counts as use: the first stays, the second goes.
    jobs.submit(fake_task("big0", bytes=9_000))
    assert [jobs.state(one).name for one in prints] == [DONE, ABSENT, DONE]
    assert not list(tmp_path.glob("*.old"))


@pytest.mark.parametrize(
    "given", ["", "../../etc", "a" * 31, "A" * 32, "a" * 33, "a" * 32 + "\n", None, 7, ["a"]]
)
def test_only_fingerprints_become_paths(jobs: Jobs, given: object) -> None:
    for ask in (jobs.state, jobs.cancel, jobs.result, jobs.job):
        with pytest.raises(ProbeError, match="no job"):
            ask(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../x.png", "a/b.png", ".png", "x", "x.png\n", "X.png"])
def test_files_that_are_handed_over_have_plain_names(name: str) -> None:
    with pytest.raises(ProbeError, match="cannot be handed"):
        Task("fake", {}, Path("/nowhere"), files={name: b""})


def test_files_are_handed_over(jobs: Jobs) -> None:
    task = Task("fake", {"name": "f"}, Path("/nowhere"), files={"image.png": b"\x89PNG"})
    fingerprint = jobs.submit(task)
    until(jobs, fingerprint, DONE)
    assert (jobs.job(fingerprint).files / "image.png").read_bytes() == b"\x89PNG"


def test_too_many_are_refused(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    prints = [jobs.submit(fake_task(name, seconds=30)) for name in "abc"]
    with pytest.raises(ProbeError, match="wait already"):
        jobs.submit(fake_task("d"))
    for one in reversed(prints):
        jobs.cancel(one)


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProbeError, match="PROBE_CACHE"):
        fake_jobs(tmp_path / "file" / "jobs").submit(fake_task("x"))
