# Completion of jflow's commands, options and flows for bash.
_jflow() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' word i
	local commands='post search explain status top plot apply sync metrics version help'
	local common='--dbname --host --port --username --no-password --password --help --version'

	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case " $commands " in *" $word "*) command=$word && break ;; esac
	done
	case $prev in
	-f | --flow)
		mapfile -t COMPREPLY < <(compgen -W "$(jflow -w status --json 2>/dev/null |
			sed -nE 's/.*"flow": "([^"\\ ]+)".*/\1/p' | sort -u)" -- "$cur")
		return
		;;
	--format)
		word='jsonl csv tsv lines text'
		[ "$command" != plot ] || word='text mermaid dot svg'
		mapfile -t COMPREPLY < <(compgen -W "$word" -- "$cur")
		return
		;;
	--errors | --output | -o | --resume)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	esac
	if [ -z "$command" ] && [[ $cur != -* ]] || [ "$prev" = help ]; then
		mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur")
		return
	fi
	if [[ $cur != -* ]]; then
		case $command in
		post | explain)
			if [[ $cur == /* || $prev == "$command" ]]; then
				mapfile -t COMPREPLY < <(compgen -W '/index /search /update /delete /fetch /filter /status /clear' -- "$cur")
			fi
			[ "$command" != post ] || mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$cur")
			;;
		apply) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
		sync) mapfile -t COMPREPLY < <(compgen -W 'run pause resume retry resync errors' -- "$cur") ;;
		esac
		return
	fi
	case $command in
	post) word='--flow --format --encoding --tags --strings --map --parameters --target-executor --request-size
		--batch-size --timeout --resume --continue-on-error --errors --output --quiet' ;;
	search) word='--flow --limit --filter --parameters --full --json' ;;
	explain) word='--flow --docs --parameters --json' ;;
	status) word='--flow --json --config' ;;
	top) word='--flow --interval --once' ;;
	plot) word='--flow --format --output' ;;
	apply) word='--dry-run --start' ;;
	sync) word='--json --uses-with --skip-failed' ;;
	metrics) word='--listen --format' ;;
	*) word='' ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$word $common" -- "$cur")
}
complete -o filenames -F _jflow jflow
