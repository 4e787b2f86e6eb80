seq 1 1000 | grep 7 | wc -l
echo "b a c" | tr ' ' '\n' | sort | head -n 2
for i in 1 2 3; do echo $i; done | while read n; do echo "<$n>"; done
( exit 3 ); echo $?
x=$(echo inner | sed s/inner/outer/); echo $x
cat <<END | sha256sum
here
END
sleep 0.1 & wait; echo waited
false || echo or; true && echo and
echo file > f; cat f f | wc -c; rm f; ls
find /etc/ssl -name 'openssl.cnf' | xargs basename
kill -0 $$ && echo alive
exit 5
