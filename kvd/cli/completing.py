"""What completes kvctl's words in a shell."""

from kvd.cli.command import Command, Option
from kvd.cli.commands import COMMANDS
from kvd.cli.usage import options_of

LIMIT = 200
"""Keys to offer: more than a person looks through."""
FILES = ("FILE", "PATH")
_CONNECTION = "--addr|--context|--user|--password-file|--ca|--cert|--key"
KEYS = f"kvctl keys --limit {LIMIT} --timeout 1"


def script(shell: str) -> str:
    """The script of a shell: bash, zsh or fish."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()


def _takes_keys(command: Command) -> bool:
    return "<KEY>" in command.words or "<PATTERN>" in command.words


def _names(options: list[Option]) -> str:
    return " ".join(word for option in options for word in option.name.split(", "))


def _all_options() -> list[Option]:
    return list({option.name: option for command in COMMANDS.values() for option in options_of(command)}.values())


def _with_argument(files: bool | None = None) -> str:
    chosen = (o for o in _all_options() if o.argument and (files is None or (o.argument in FILES) == files))
    return "|".join(option.name for option in chosen)


def _cases(indent: str, form: str) -> str:
    return "\n".join(
        indent + form.format(name=command.name, options=_names(list(options_of(command))))
        for command in COMMANDS.values()
    )


def _bash() -> str:
    return _BASH.format(
        **_filled(), connection=_CONNECTION, names=" ".join(COMMANDS),
        cases=_cases("    ", "{name}) options='{options}' ;;"),
    )  # fmt: skip


_BASH = """\
_kvctl() {{
    local line=${{COMP_LINE:0:COMP_POINT}} current= before= command= i options key cut
    local -a words connection=()
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] || {{ current=${{words[-1]}}; unset 'words[-1]'; }}
    for ((i = 1; i < ${{#words[@]}}; i++)); do
        before=
        case ${{words[i]}} in
        {connection}) before=${{words[i]}} connection+=("${{words[@]:i:2}}"); ((i++)) ;;
        --tls) connection+=(--tls) ;;
        {valued}) before=${{words[i]}}; ((i++)) ;;
        -*) ;;
        *) [ -n "$command" ] || command=${{words[i]}} ;;
        esac
    done
    ((i > ${{#words[@]}})) || before=
    COMPREPLY=()
    cut=${{current%"${{current##*[:=]}}"}}
    case $before in
    {files}) compopt -o default; return ;;
    {others}) return ;;
    esac
    case $command in
{cases}
    *) options='{options}' ;;
    esac
    if [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$current"))
    elif [ -z "$command" ]; then
        COMPREPLY=($(compgen -W '{names}' -- "$current"))
    else
        case $command in
        {keys})
            while IFS= read -r key; do
                key=$(printf %q "${{key#"$cut"}}")
                # Within other quotes $'...' is none, and would let a command in a key be run.
                [[ $key == \\$* && $line == *[\\"\\']* ]] || COMPREPLY+=("$key")
            done < <({listing} "${{connection[@]}}" -- "$current*" 2> /dev/null) ;;
        help) COMPREPLY=($(compgen -W '{names}' -- "$current")) ;;
        completion) COMPREPLY=($(compgen -W 'bash zsh fish' -- "$current")) ;;
        *) compopt -o default ;;
        esac
    fi
}}
complete -F _kvctl kvctl
"""


def _zsh() -> str:
    commands = "\n".join(f"        {_quoted(f'{c.name}:{c.help}')}" for c in COMMANDS.values())
    return _ZSH.format(**_filled(), commands=commands, cases=_cases("    ", "({name}) options=({options}) ;;"))


_ZSH = """\
#compdef kvctl
_kvctl() {{
    local command i
    local -a commands options found
    commands=(
{commands}
    )
    for ((i = 2; i < CURRENT; i++)); do
        case $words[i] in
        ({valued}) ((i++)) ;;
        (-*) ;;
        (*) command=$words[i]; break ;;
        esac
    done
    case $words[CURRENT-1] in
    ({files}) _files; return ;;
    ({others}) return ;;
    esac
    case $command in
{cases}
    (*) options=({options}) ;;
    esac
    if [[ $words[CURRENT] == -* ]]; then
        compadd -- $options
    elif [[ -z $command ]]; then
        _describe command commands
    else
        case $command in
        ({keys})
            found=(${{(f)"$({listing} -- "$PREFIX*" 2> /dev/null)"}})
            compadd -- $found ;;
        (help) _describe command commands ;;
        (completion) compadd -- bash zsh fish ;;
        (*) _files ;;
        esac
    fi
}}
compdef _kvctl kvctl
"""


def _filled() -> dict[str, str]:
    """What the templates of bash and zsh have in common."""
    return {
        "valued": _with_argument(),
        "files": _with_argument(files=True),
        "others": _with_argument(files=False),
        "options": _names(_all_options()),
        "keys": "|".join(command.name for command in COMMANDS.values() if _takes_keys(command)),
        "listing": KEYS,
    }


def _fish() -> str:
    common = set.intersection(*({option.name for option in options_of(command)} for command in COMMANDS.values()))
    lines = [f"complete -c kvctl -n __kvctl_is -a {c.name} -d {_quoted(c.help)}" for c in COMMANDS.values()]
    lines += [_fish_option(option, "") for option in _all_options() if option.name in common]
    for command in COMMANDS.values():
        when = f" -n '__kvctl_is {command.name}'"
        lines += [_fish_option(option, when) for option in options_of(command) if option.name not in common]
    keys = " ".join(command.name for command in COMMANDS.values() if _takes_keys(command))
    offered = f"({KEYS} -- (commandline -ct)\\* 2> /dev/null)"
    lines.append(f"complete -c kvctl -n '__kvctl_is {keys}' -a '{offered}'")
    lines.append(f"complete -c kvctl -n '__kvctl_is help' -a '{' '.join(COMMANDS)}'")
    lines.append("complete -c kvctl -n '__kvctl_is completion' -a 'bash zsh fish'")
    return _FISH.format(options=_with_argument().replace("|", " "), lines="\n".join(lines))


_FISH = """\
function __kvctl_is
    set -l words (commandline -opc)
    set -l command
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case {options}
                set -q words[2]; and set -e words[1]
            case '-*'
            case '*'
                set command $words[1]
                break
        end
        set -e words[1]
    end
    if not set -q argv[1]
        not set -q command[1]
    else
        set -q command[1]; and contains -- $command $argv
    end
end
complete -c kvctl -f
{lines}
"""


def _fish_option(option: Option, when: str) -> str:
    name = option.name.rpartition("--")[2]
    takes = "" if not option.argument else " -r -F" if option.argument in FILES else " -x"
    return f"complete -c kvctl{when} -l {name}{takes} -d {_quoted(option.help.partition(chr(10))[0])}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "'\\''") + "'"
