"""The reader of shell scripts says the words that bash would type, and the line that each was written in."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from stages.audit.readers.text import Source
from stages.audit.shell import reader
from stages.audit.shell.words import text

COMMAND = "marked"


def words(script: str, folder: Path) -> list[list[str]]:
    """The words of every call of the marked command, as they are read."""
    (folder / "run.sh").write_text(script)
    found = reader.read(Source(folder / "run.sh", folder, folder))
    return [[text(word) for word in one.words[1:]] for one in found.commands if text(one.words[0]) == COMMAND]


def typed(script: str, folder: Path) -> list[list[str]]:
    """The same as bash types it, in an empty environment."""
    head = f'{COMMAND}() {{ printf \'%s\\0\' "$#" "$@"; }}\n'
    done = subprocess.run(
        [shutil.which("bash") or "bash", "--norc", "-c", head + script], cwd=folder, env={}, capture_output=True,
        timeout=20, check=True,
    )  # fmt: skip
    parts, found = done.stdout.decode().split("\0")[:-1], []
    while parts:
        count = int(parts.pop(0))
        found.append([parts.pop(0) for _ in range(count)])
    return found


SCRIPTS = {
    "quotes": """A='one two'; B="x $A y"\nmarked $A "$A" '$A' "$B" pre"$A"post""",
    "arrays": """A=(--lr 1e-4 "two words")\nA+=(--bf16)\nmarked "${A[@]}" ${A[@]} "$A" """,
    "text that grows": """O="--a 1"; O+=" --b 2"; O="$O --c 3"\nmarked $O "$O" """,
    "defaults": """A=${X:-5}; B=${A:-6}; C=${Y-7}; : ${Z:=8} "${W:=/a b}"\nmarked $A $B $C $Z "$W" ${Z:=9}""",
    "arithmetic": """A=$((2 * 3 + 4)); B=$((A / 4)); C=$(( (A - 1) % 4 )); D=$((2**10))\nmarked $A $B $C $D""",
    "a test that is true": """A=1; if [ "$A" = 1 ]; then B=x; elif [ "$A" = 2 ]; then B=y; else B=z; fi\nmarked $B""",
    "a test that is false": """A=3\nif [[ $A -gt 4 ]]; then B=x; else B=z; fi\n[ -z "$X" ] && C=c\nmarked $B $C""",
    "the second way": """A=2; if [ $A -eq 1 ]; then B=x; elif [ $A -eq 2 ]; then B=y; else B=z; fi\nmarked $B""",
    "and, or, not": """A=1; B=2; if [ $A = 1 ] && ! [ $B = 3 ]; then C=x; else C=y; fi\nmarked $C""",
    "a test before a command": """A=1; [ "$A" = 2 ] && A=9; [ "$A" = 1 ] && B=b; [ "$A" = 1 ] || B=c
[[ $A == 2 ]] || C=d; [ "$A" = a ] && B=no; [ "$X" = debug ] && B=no
marked $A $B $C; [ "$A" = 2 ] && marked no; [ $A = 1 ] && [ $B = b ] && marked yes""",
    "a loop that goes on": """for x in a b c; do [ $x = b ] && continue; marked $x; if [ $x = c ]; then break; fi; done
for x in d e; do marked $x; break; done""",
    "a test that is true for a while": """n=0; while [ $n -lt 3 ]; do n=$((n + 1)); marked $n; done; marked $n""",
    "options of the script": """A=1
while [[ $# -gt 0 ]]; do case $1 in --a) A=$2; shift 2 ;; *) exit 1 ;; esac; done; marked $A""",
    "parameters that the script sets": """set -- a "b c"; set -- "$@" d; f() { marked "$@"; }
f x\nmarked "$@" $# "$2"; shift; marked $1""",
    "all parameters as a command": """run() { eval "$*"; }\nrun marked --a 1""",
    "a pattern in a test": """A=llama-8b; if [[ $A == llama* ]]; then B=1; else B=2; fi
[[ $A != *70b ]] && C=3\nmarked $B $C""",
    "a loop": """L=""; for x in a "b c" d; do L="$L $x"; marked $x; done\nmarked $L""",
    "a function": """f() { G=inside; marked in $G; }\nG=outside\nf\nmarked $G""",
    "lines that go on": """marked --a 1 \\\n  --b 2 \\\n  --c "3 \\\n4" """,
    "a string of several lines": """A="\n  --lr 1e-4\n  --min-lr 1e-5\n"\nmarked $A""",
    "escapes": r"""marked "a \"b\" \$c \\ d" e\ f \$g 'h\i' """,
    "an empty word": """A=; marked "$A" $A "" end""",
    "comments": """A=1 # not 2\nmarked $A # --b\n# marked no""",
    "a list in a list": """A=(1 2); B=(0 "${A[@]}" 3)\nmarked "${B[@]}" """,
    "two on a line": """A=1; marked $A; A=2 && marked $A""",
    "parameters": """f() { local n="$1"; shift; marked "$n" "$@" ${2:-7} $# "$1"; }\nf a "b c" d; f x
marked ${1:-none}""",
    "a function in a function": """g() { marked g "$@"; }\nf() { g "$1" --own; marked f "$2"; }\nf 1 2""",
    "local names": """A=out; L=(p q); f() { local A=in L; declare B=b; marked $A $B; }
f; marked $A "${B:-none}" "${L[@]}" """,
    "how many": """L=(a b c); A=xyz; marked ${#L[@]}; f() { marked $#; }\nf "${L[@]}"; f""",
    "an array if there is one": """L=(a "b c"); M=(); marked ${L[@]+"${L[@]}"} "${M[@]}" end""",
    "what a function prints": """args() { local n=$1; echo "--a $n" --b; echo --c "d e"
if [ "$n" = 1 ]; then echo --one; else echo --other; fi; echo to nobody >&2; echo gone > /dev/null; G=in; }
G=out; A=$(args 2); L=($(args 1)); marked $(args 1) "$(args 2)" $A "${L[@]}" $G $(echo -n x y)""",
    "exported": """export A=1 B="2 3"; declare -r C=4; local_=5\nmarked $A "$B" $C $local_""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_words_are_those_that_bash_types(name: str, tmp_path: Path) -> None:
    assert words(SCRIPTS[name], tmp_path) == typed(SCRIPTS[name], tmp_path)


_RETURNS = """
flags() { [ "$1" = none ] && return; echo --a; if [ "$1" = short ]; then echo --b; return 0; fi; echo --c; }
marked $(flags none) end
marked $(flags short) end
marked $(flags) end
set_size() { case "$1" in 7b|7B) L=32; return;; 1?b) L=40; M=2;; "70b") L=80;; *) L=1; esac; M=1; }
for size in 7b 13b 70b 3b; do M=0; set_size $size; marked $L $M; done
need() { local what=${1:?what}; marked $what "${2?}"; }
need a b
rows() { for one in 1 2 3; do echo "--r $one"; [ $one = 2 ] && return; done; echo --no; }
marked $(rows)
"""


def test_returns_and_cases_are_read_as_bash_runs_them(tmp_path: Path) -> None:
    assert words(_RETURNS, tmp_path) == typed(_RETURNS, tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "read"),
    [
        ("A=1000", "A=10000", ["${A}"]),  # another figure, not the same with more behind it
        ('A="--x 1"', 'A+=" --y 2"', ["--x", "1", "${?--y,2}"]),
        ("A=(--x 1)", "A+=(--y 2)", ["--x", "1", "${?--y,2}"]),
        ('A=""', 'A="--y 2"', ["${?--y,2}"]),
        ("A=x", "A=x", ["x"]),
    ],
)
def test_of_what_a_branch_may_add_to_the_common_words_stay(
    before: str, after: str, read: list[str], tmp_path: Path
) -> None:
    script = f'{before}\nif [ "$SLURM_JOB_ID" = 5 ]; then {after}; fi\nmarked ${{A[@]}}'
    assert words(script, tmp_path) == [read]
    printed = f'f() {{ {before}; if [ "$SLURM_JOB_ID" = 5 ]; then {after}; fi; echo ${{A[@]}}; }}\nmarked $(f)'
    assert words(printed, tmp_path) == [read]
    one = 'f() { echo --x 1; if [ "$SLURM_JOB_ID" = 5 ]; then echo --y 2; fi; }\nmarked $(f)'
    assert words(one, tmp_path) == [["--x", "1", "${?--y,2}"]]


def test_what_follows_a_return_that_nobody_can_decide_is_unknown(tmp_path: Path) -> None:
    script = 'f() { A=1; if [ "$SLURM_JOB_ID" = 5 ]; then return; fi; A=2; B=3; }\nf\nmarked $A $B'
    assert words(script, tmp_path) == [["${A}", "${B}"]]
    script = 'case "$SIZE" in 7b) A=1; B=2;; 13b) A=2;; esac\nmarked $A $B'
    assert words(script, tmp_path) == [["${A}", "${B}"]]
    script = 'f() { if [ -z "$DATA" ]; then echo no data; return 1; fi; marked on; }\nf'
    assert words(script, tmp_path) == [["on"]]  # what a launch without the environment would stop at


def _random(draw: random.Random) -> str:
    """A script of assignments, arrays, loops, tests and functions, over a few names and values."""
    names, lines = ["A", "B", "C"], ["A=1", "B='x y'", "C=7", "L=(p q)"]

    def value() -> str:
        name = draw.choice(names)
        return draw.choice([f"${name}", f'"${{{name}}}"', f'"a ${name} b"', "'$A'", "3", f"${{N:-{draw.randrange(9)}}}",
                            "$(( C * 2 + 1 ))", f"x${{{name}}}y", '"${L[@]}"'])  # fmt: skip

    for _ in range(draw.randrange(3, 9)):
        scalar = value().replace('"${L[@]}"', "z")
        lines.append(
            draw.choice(
                [
                    f"{draw.choice(['A', 'B'])}={scalar}",
                    f"{draw.choice(['A', 'B'])}+={scalar}",
                    f"L+=({value()} {value()})",
                    f"L=({value()})",
                    f"for v in {value()} {value()}; do marked $v; done",
                    f'if [ "$A" = "{draw.randrange(3)}" ]; then B={scalar}; else B=e; fi',
                    f"f() {{ A={scalar}; }}; f",
                    f'[ "$A" {draw.choice(["=", "!="])} "{draw.randrange(3)}" ] {draw.choice(["&&", "||"])} B={scalar}',
                    f"marked {value()} {value()}",
                ]
            )
        )
    return "\n".join([*lines, 'marked $A "$B" "${L[@]}"'])


def test_random_scripts_are_read_as_bash_runs_them(tmp_path: Path) -> None:
    draw = random.Random(7)
    for _ in range(120):
        script = _random(draw)
        assert words(script, tmp_path) == typed(script, tmp_path), script


@pytest.mark.parametrize("body", ["echo --a; date", "date | cat", "python make.py", "printf 1", "cat <<EOF\n1\nEOF\n"])
def test_what_a_function_prints_is_unknown_where_another_command_prints_a_part_of_it(body: str, tmp_path: Path) -> None:
    ((found,),) = words(f'f() {{ {body}; }}\nmarked "$(f)"', tmp_path)
    assert "$(...)" in found


@pytest.mark.parametrize(
    "fill",
    ["read -ra A <<< '1 2'", "mapfile -t A <<EOF\n1\nEOF", "A=$(cat <<EOF\n1\nEOF\n)", "read -r -d '' A <<EOF\n1\nEOF",
     "while read -r line; do A+=($line); done <<EOF\n1\nEOF"],
)  # fmt: skip
def test_what_is_read_from_a_text_is_unknown(fill: str, tmp_path: Path) -> None:
    ((found,),) = words(f'A=0\n{fill}\nmarked "${{A[@]}}"', tmp_path)
    assert found.startswith("$")


def test_what_the_text_does_not_decide_is_unknown_and_not_a_guess(tmp_path: Path) -> None:
    script = (
        'A=1\nif [ "$SLURM_JOB_ID" = 5 ]; then A=2; fi\nwhile read line; do B=$line; done < f\n'
        "marked $A $B $(date) $HOSTNAME"
    )
    assert words(script, tmp_path) == [["${A}", "${B}", "$(...)", "${HOSTNAME}"]]


@pytest.mark.parametrize(
    "part", ["${L[@]:1}", "${L[@]/a/b}", "${#A}", "${L[1]}", "${L[0]}", "${M[tp]}", "${M[@]}", "$((M[tp] * 2))"]
)
def test_a_part_of_an_array_is_unknown_and_not_the_whole(part: str, tmp_path: Path) -> None:
    ((found,),) = words(f'A=abc; L=(a b); L[1]=c; declare -A M=( [tp]=2 )\nmarked "{part}"', tmp_path)
    assert found.startswith("$")


@pytest.mark.parametrize("folder", ['$(dirname "$0")', "${BASH_SOURCE%/*}", "${DIR}", "."])
def test_a_file_beside_the_script_is_read_by_whatever_names_its_folder(folder: str, tmp_path: Path) -> None:
    (tmp_path / "common.sh").write_text("A=1\n")
    script = f'DIR="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"\nsource "{folder}/common.sh"\nmarked $A'
    assert words(script, tmp_path) == [["1"]]
    assert words(script.replace(folder + "/", "$HOME/"), tmp_path) == [["${A}"]]  # of another folder nobody knows


def test_a_value_is_at_the_line_where_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("LR=1e-4\nARGS=(\n  --lr $LR\n  --bf16\n)\nmarked \\\n  ${ARGS[@]} \\\n  --last\n")
    found = reader.read(Source(tmp_path / "run.sh", tmp_path, tmp_path))
    (command,) = [one for one in found.commands if text(one.words[0]) == COMMAND]
    assert [word[0].where.line for word in command.words] == [6, 3, 1, 4, 8]
