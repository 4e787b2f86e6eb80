words=(one two three)
declare -A length
for word in "${words[@]}"; do length[$word]=${#word}; done
for word in "${words[@]}"; do printf '%s=%d\n' "$word" "${length[$word]}"; done
echo "$(printf '%s\n' "${words[@]}" | sort -r | paste -sd,)"
[[ casemate =~ ^case(.*)$ ]] && echo "${BASH_REMATCH[1]}"
trap 'echo at exit' EXIT
trap 'echo usr1' USR1
kill -USR1 $$
diff <(echo a) <(echo b)
coproc cat; echo through >&"${COPROC[1]}"; read -r line <&"${COPROC[0]}"; echo "$line"
mapfile -t lines < <(seq 3); echo "${#lines[@]}"
time_of() { ( "$@" ); echo "$?"; }
time_of false
( kill -9 $BASHPID ) 2>&-; echo $?
sleep 5 & kill %1; wait %1 2>&-; echo $?
exit 4
