"""`python -m services.demo`: plays the demonstration against running apps. Exit code 0, or 1 when it could not be played."""

import asyncio

from rich.console import Console

from services.demo.doors import DemoFailed, Doors
from services.demo.playing import catch_up, play, trees
from services.demo.script import write_script
from services.demo.showing import open_console, say_what_next, show


async def demonstrate(console: Console, doors: Doors) -> int:
    """Play, wait, show; return the exit code."""
    script = write_script()
    try:
        async with doors:
            played = await play(doors, script, trees(), lambda text: console.print(text, markup=False, soft_wrap=True))
            seconds = await catch_up(doors, script, played)
            console.print(f"Everything was in the read models {seconds:.1f} s after the last event went in.")
            await show(console, doors, script, played)
    except DemoFailed as failure:
        console.print(f"demo: {failure}", markup=False, style="red", soft_wrap=True)
        return 1
    say_what_next(console, doors)
    return 0


def main() -> None:
    """Play the demonstration of the apps that the environment names."""
    try:
        code = asyncio.run(demonstrate(open_console(), Doors.from_environment()))
    except KeyboardInterrupt:
        code = 130
    raise SystemExit(code)


if __name__ == "__main__":
    main()
