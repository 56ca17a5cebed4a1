# Ends an ephemeral server whose owner has ended, and removes its folder.
# Arguments: the folder, and the signal that ends the server at once.
#
# Each line of the standard input names the process to end, by its id and the time of its start, and
# replaces the previous one. An empty line names none. The input ends when the owner does, however
# that happens.
folder=$1
signal=$2

while read -r id started; do
    pid=$id since=$started
done

# Prints the fields after the name, which is in parentheses and may contain any character: the state,
# the parent, ...; the 20th field is the time of the start.
fields() {
    read -r line <"/proc/$1/stat" && echo "${line##*) }"
}

is_alive() {
    set -- $(fields "$pid")
    [ "${20}" = "$since" ] && [ "$1" != Z ]
}

family() {
    echo "$pid"
    for folder_of in /proc/[0-9]*; do
        child=${folder_of#/proc/}
        set -- $(fields "$child")
        [ "$2" = "$pid" ] && echo "$child"
    done
}

if [ -n "$pid" ] && is_alive; then
    # A paused server cannot react to the signal.
    kill -CONT $(family)
    kill "-$signal" "$pid"
    patience=50
    while is_alive && [ "$patience" -gt 0 ]; do
        sleep 0.1
        patience=$((patience - 1))
    done
    if is_alive; then
        kill -STOP "$pid"
        kill -KILL $(family)
    fi
    # The program that fills the data folder has children in its process group.
    kill -KILL -- "-$pid"
fi
rm -rf -- "$folder" || { sleep 1 && rm -rf -- "$folder"; }
