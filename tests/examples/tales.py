"""How the text of examples/tiny was written: tales of one grammar, each of which needs its beginning at its end.

`python -m tests.examples.tales FOLDER` writes both files into a folder.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

TALES, QUESTIONS = 900, 700
NAMES = ("Ada", "Ben", "Clara", "Dora", "Emil", "Finn", "Greta", "Hugo", "Ida", "Jonas", "Klara", "Leo", "Mira", "Nora")
COLOURS = ("red", "blue", "green", "white", "yellow", "brown")
THINGS = ("key", "coin", "letter", "ring", "shell", "button", "feather", "candle")
PLACES = ("jar", "basket", "drawer", "box", "kettle", "boot", "cupboard")
VILLAGES = ("Oakham", "Millbrook", "Ashford", "Stonebridge", "Fernhill")
TRIPS = (
    "the mill",
    "the market",
    "the river",
    "the old bridge",
    "the school",
    "the bakery",
    "the forest",
    "the harbour",
)
WEATHER = ("It rains a little.", "The sun is warm.", "A cold wind blows.", "There is fog over the fields.", "It snows.")
FOOD = ("bread", "apples", "cheese", "soup", "plums", "cake")
ANIMALS = ("dog", "cat", "goat", "horse", "hen", "fox")


def tale(draw: random.Random) -> str:
    """A paragraph: something is put away, the day goes by, and it is found where it was put."""
    who, friend = draw.sample(NAMES, 2)
    thing = f"{draw.choice(COLOURS)} {draw.choice(THINGS)}"
    place = f"{draw.choice(COLOURS)} {draw.choice(PLACES)}"
    village, *trips = draw.choice(VILLAGES), *draw.sample(TRIPS, draw.choice((1, 2, 3)))
    said = [f"{who} lives in {village}. In the morning {who} puts the {thing} into the {place}."]
    for trip in trips:
        said += [f"Then {who} walks to {trip}. {draw.choice(WEATHER)}", draw.choice(MEETINGS)(draw, who, friend, trip)]
    said.append(f"In the evening {who} comes home to {village}, opens the {place} and takes out the {thing}.")
    return " ".join(said)


def _meal(draw: random.Random, who: str, friend: str, trip: str) -> str:
    food, other = draw.sample(FOOD, 2)
    return f"{friend} sits near {trip} and eats {food}. {who} has {other}. They share, and both like the {food} better."


def _animal(draw: random.Random, who: str, friend: str, trip: str) -> str:
    animal, colour = draw.choice(ANIMALS), draw.choice(COLOURS)
    return f"A {colour} {animal} stands in the way. {who} is not afraid. The {animal} looks at {who} and goes away."


def _lost(draw: random.Random, who: str, friend: str, trip: str) -> str:
    thing = draw.choice(THINGS)
    return f'"Have you seen my {thing}?" asks {friend}. "No," says {who}, "but I will look for the {thing} with you."'


def _count(draw: random.Random, who: str, friend: str, trip: str) -> str:
    food, first, more = draw.choice(FOOD[1::2]), draw.randint(2, 9), draw.randint(2, 9)
    return f"{who} buys {first} and {friend} buys {more}. Together they carry {first + more} {food} away from {trip}."


Meeting = Callable[[random.Random, str, str, str], str]
MEETINGS: tuple[Meeting, ...] = (_meal, _animal, _lost, _count)


def question(draw: random.Random) -> dict[str, list[dict[str, str]]]:
    """A conversation: two things are put away, and one is asked for."""
    who, friend = draw.sample(NAMES, 2)
    things, places = draw.sample(THINGS, 2), draw.sample(PLACES, 2)
    colours = [draw.choice(COLOURS) for _ in range(4)]
    mine, other = f"{colours[0]} {things[0]}", f"{colours[1]} {things[1]}"
    here, there = f"{colours[2]} {places[0]}", f"{colours[3]} {places[1]}"
    told = [f"{who} puts the {mine} into the {here}.", f"{friend} puts the {other} into the {there}."]
    draw.shuffle(told)
    asked, answer = draw.choice(
        (
            (f"Where is the {mine}?", f"The {mine} is in the {here}."),
            (f"What does {who} put away?", f"{who} puts away the {mine}."),
            (f"Who opens the {here}?", f"{who} opens the {here} and takes out the {mine}."),
        )
    )
    said = (("user", f"{' '.join(told)} {asked}"), ("assistant", answer))
    return {"messages": [{"role": role, "content": content} for role, content in said]}


def files() -> dict[str, str]:
    """The two files by their names."""
    draw = random.Random(20250101)
    tales = "\n\n".join(tale(draw) for _ in range(TALES))
    rows = "".join(json.dumps(question(draw)) + "\n" for _ in range(QUESTIONS))
    return {"tales.txt": tales + "\n", "questions.jsonl": rows}


if __name__ == "__main__":
    for name, text in files().items():
        Path(sys.argv[1], name).write_text(text, encoding="utf-8")
