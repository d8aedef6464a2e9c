"""Shell completion, made from the grammar: `rtprelay-ctl --completion bash > /etc/bash_completion.d/rtprelay-ctl`.

Call-IDs come from the wire. They are compared and quoted, never expanded: `compgen -W` would run what is in them.
"""

from __future__ import annotations

from rtprelay.cli.grammar import Line, Tree, tree

OPTIONS = ("-ip", "-port", "-timeout", "--json", "--keys", "--completion", "--help")

_BASH = """\
# bash completion for rtprelay-ctl; made by `rtprelay-ctl --completion bash`
_rtprelay_ctl() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} said="" index=1 words="" calls="" id
    while (( index < COMP_CWORD )); do
        case ${{COMP_WORDS[index]}} in
            -ip|-port|-timeout|--completion) (( index++ )) ;;
            -*) ;;
            *) said="$said${{said:+ }}${{COMP_WORDS[index]}}" ;;
        esac
        (( index++ ))
    done
    case $said in
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    [ "$calls" ] && while read -r id; do
        [[ $id == "$word"* ]] && COMPREPLY+=("$(printf %q "$id")")
    done < <(rtprelay-ctl -timeout 1 list sessions all 2>/dev/null | sed -n 's/^callid: *\\([^ ]*\\) .*/\\1/p')
}}
complete -F _rtprelay_ctl rtprelay-ctl
"""


def bash() -> str:
    cases = [_case("", (*tree(), *OPTIONS)), *_cases(tree(), "")]
    return _BASH.format(cases="\n".join(cases))


def _cases(node: Tree, said: str) -> list[str]:
    cases: list[str] = []
    for word, below in node.items():
        path = f"{said} {word}".strip()
        if not isinstance(below, Line):
            cases += [_case(path, tuple(below)), *_cases(below, path)]
        elif below.arguments:
            first = below.arguments.split(" ")[0].strip("[]").split("|")
            cases.append(_case(path, tuple(word for word in first if not word.isupper()), "CALL-ID" in first))
    return [case for case in cases if case]


def _case(said: str, words: tuple[str, ...], calls: bool = False) -> str:
    """What may follow what was said; words in capitals stand for others. Empty: nothing that could be named."""
    offers = [f'words="{" ".join(words)}"'] if words else []
    offers += ["calls=yes"] if calls else []
    return f'        "{said}") {" ".join(offers)} ;;' if offers else ""
