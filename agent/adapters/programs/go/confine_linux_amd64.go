package pipe

import "golang.org/x/sys/unix"

// Calls that only older architectures still have.
var deniedHere = []denial{
	{call: unix.SYS_OPEN}, {call: unix.SYS_CREAT}, {call: unix.SYS_MKDIR}, {call: unix.SYS_UNLINK}, {call: unix.SYS_RENAME},
}
