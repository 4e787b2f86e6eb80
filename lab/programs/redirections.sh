# Processes that share the position in a file, in the directory that is given.
cd $1
(echo a; /bin/echo b; /bin/echo c; (echo d; /bin/echo e)) > out
cat out
exec > log
/bin/echo one; echo two; /bin/echo three
/bin/sh -c 'echo four; /bin/echo five' &
wait
exec >&2
cat log >&2
printf 'l1\nl2\nl3\n' > in
{ read x; /usr/bin/head -c 3; read y; } < in
echo "$x $y"
