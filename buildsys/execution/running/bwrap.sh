# bwrap.sh BWRAP OPTIONS FILTER COMMAND...: hands these two files to bwrap as descriptors that the
# step's own pipes leave free.
b=$1 a=$2 f=$3
shift 3
n=3
while [ -e /proc/self/fd/$n ]; do n=$((n + 1)); done
m=$((n + 1))
while [ -e /proc/self/fd/$m ]; do m=$((m + 1)); done
eval 'exec "$b" --args '$n' --seccomp '$m' -- "$@" '$n'<"$a" '$m'<"$f"'
