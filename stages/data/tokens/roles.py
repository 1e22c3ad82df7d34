"""What a tokenizer's special tokens are for: ids by role, so that no code relies on a fixed id."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Roles:
    """Ids of the special tokens by role; None where a tokenizer has none.

    bos begins every document, eos ends one of plain text, pad fills rows (never read, never learned), image stands for
    one cell of a picture. turn_begin and turn_end enclose a turn of a conversation, think and end_think a reasoning.
    """

    pad: int | None
    bos: int | None
    eos: int | None
    image: int | None
    turn_begin: int | None
    turn_end: int | None
    think: int | None
    end_think: int | None

    def by_name(self) -> dict[str, int | None]:
        """Role -> id, in the order of the fields."""
        return asdict(self)

    @property
    def fill(self) -> int:
        """The id that fills up rows: any id would do, since padding is masked; that of `pad` where there is one."""
        return 0 if self.pad is None else self.pad

    @property
    def ends(self) -> list[int]:
        """Ids that end a turn or a document."""
        return sorted({one for one in (self.eos, self.turn_end) if one is not None})

    @property
    def outside_replies(self) -> frozenset[int]:
        """Ids that no answer contains before its end."""
        return frozenset(one for one in (self.pad, self.bos, self.eos, self.image, self.turn_begin) if one is not None)


NAMES = tuple(field.name for field in fields(Roles))
LOCAL = Roles(*range(len(NAMES)))  # of the tokenizer that specs/data/tokenizer.yaml trains: document.SPECIAL, in order
