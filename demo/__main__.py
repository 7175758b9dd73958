"""`python -m demo`: exit status 0 only if everything happened that should."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys

from demo.clients import Clients
from demo.screen import Screen
from demo.stage import NAMESPACE, Stage, stage
from demo.story import Story, UnexpectedError


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="Weir's main job, from commit to rollback.")
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    chosen = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(_run(keep=chosen.keep))
    return 130


async def _run(*, keep: bool) -> int:
    screen = Screen()
    screen.title("Setting the stage")
    failure = ""
    async with stage(screen) as set_up, asyncio.TaskGroup() as group:
        clients = Clients(set_up.gateway.url)
        story = Story(set_up, clients, screen)
        try:
            await story.prologue()
            group.create_task(clients.run())
            for chapter in (story.better, story.worse, story.written_back, story.unproven):
                await chapter()
        except (UnexpectedError, TimeoutError, LookupError) as error:
            failure = str(error)
        _summarise(screen, story)
        if not failure:
            screen.line(f"Weir itself: {await set_up.footprint()}", "dim")
        if failure:
            screen.line(f"the demo failed: {failure}", "bad")
        if keep:
            await _stay(screen, set_up)
        clients.stop()
    return 1 if failure else 0


def _summarise(screen: Screen, story: Story) -> None:
    rows = [
        [c.what, c.verdict, c.serving, str(c.requests), str(c.failed), f"{c.seconds:.0f} s"] for c in story.chapters
    ]
    screen.table(["commit", "verdict", "serves", "requests", "failed", "took"], rows)


async def _stay(screen: Screen, set_up: Stage) -> None:
    screen.title("Everything stays up until Ctrl-C")
    screen.line(f"KUBECONFIG={set_up.kubeconfig} kubectl -n {NAMESPACE} get gitrepositories,kustomizations,canaries")
    screen.line(f"Weir's API    {await set_up.api()}/api/v1/status")
    screen.line(
        f"the gateway   curl -H 'Host: chat.example.com' -d '{{\"x\": [1, 2]}}' {set_up.gateway.url}/v1/predict"
    )
    screen.line(f"Prometheus    {set_up.prometheus.url}")
    screen.line(f"the repository {set_up.git_url}")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
