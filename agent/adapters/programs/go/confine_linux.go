package pipe

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// denial answers a system call with EACCES: always, or if one of the bits is
// set in the argument with that index.
type denial struct {
	call     uint32
	argument uint32
	bits     uint32
}

// Both programs go without these.
var always = []denial{
	{call: unix.SYS_EXECVE}, {call: unix.SYS_EXECVEAT}, {call: unix.SYS_PTRACE}, {call: unix.SYS_OPENAT2},
	{call: unix.SYS_MKDIRAT}, {call: unix.SYS_UNLINKAT}, {call: unix.SYS_RENAMEAT2}, {call: unix.SYS_LISTEN},
	{call: unix.SYS_IO_URING_SETUP},
	// Files without a path, and the memory and the files of the agent, which
	// runs as the same user.
	{call: unix.SYS_OPEN_BY_HANDLE_AT}, {call: unix.SYS_PROCESS_VM_READV}, {call: unix.SYS_PROCESS_VM_WRITEV},
	{call: unix.SYS_PIDFD_GETFD},
}

// Isolate bounds the memory the process can ever have and takes from it, for
// good, the system calls for network, files and programs: it has its pipes
// and nothing else.
func Isolate(memory int64) error {
	return confine(memory, append([]denial{
		{call: unix.SYS_SOCKET}, {call: unix.SYS_SOCKETPAIR}, {call: unix.SYS_CONNECT}, {call: unix.SYS_BIND},
		{call: unix.SYS_OPENAT},
	}, always...))
}

// ReadOnly bounds the memory the process can ever have and takes from it, for
// good, programs, services of its own and whatever writes to a disk: it can
// open connections and read files.
func ReadOnly(memory int64) error {
	const writing = unix.O_WRONLY | unix.O_RDWR | unix.O_CREAT
	return confine(memory, append([]denial{{call: unix.SYS_OPENAT, argument: 2, bits: writing}}, always...))
}

func confine(memory int64, denials []denial) error {
	if err := boundData(memory); err != nil {
		return fmt.Errorf("limiting memory: %w", err)
	}
	arch, ok := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	if !ok {
		return nil
	}
	filter := denyFilter(arch, append(denials, deniedHere...))
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// Only a thread without a way to new privileges may install a filter; the
	// filter then holds for all threads.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up privileges: %w", err)
	}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	switch {
	case errno == unix.ENOSYS, errno == unix.EINVAL, errno == unix.EPERM:
		// A kernel or a container without filters of its own: what remains is
		// that nothing here does what the filter forbids.
		return nil
	case errno != 0:
		return fmt.Errorf("filtering system calls: %w", errno)
	case thread != 0:
		return fmt.Errorf("filtering system calls: thread %d has a filter of its own", thread)
	}
	return nil
}

// boundData limits data memory, unless it is limited further already. The
// collector keeps to the memory it is given and the guard ends a request that
// does not fit; this is for growth too fast for either. The addition is for
// address space that Go maps and does not use.
func boundData(memory int64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_DATA, &now); err != nil {
		return err
	}
	bound := min(uint64(memory)*2+256<<20, now.Max)
	return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: bound, Max: bound})
}

// denyFilter is a classic BPF program: calls of another architecture and the
// listed ones fail with EACCES, the rest is allowed.
func denyFilter(arch uint32, denials []denial) []unix.SockFilter {
	const offsetNumber, offsetArch, offsetArguments = 0, 4, 16
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	jump := func(code uint16, k uint32, ifTrue, ifFalse uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | code | unix.BPF_K, K: k, Jt: ifTrue, Jf: ifFalse}
	}
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	deny := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EACCES)}
	program := []unix.SockFilter{
		load(offsetArch), jump(unix.BPF_JEQ, arch, 1, 0), deny,
		// The numbers from here on are those of the x32 variant of amd64.
		load(offsetNumber), jump(unix.BPF_JGE, 0x40000000, 0, 1), deny,
	}
	for _, d := range denials {
		if d.bits == 0 {
			program = append(program, jump(unix.BPF_JEQ, d.call, 0, 1), deny)
			continue
		}
		program = append(program,
			jump(unix.BPF_JEQ, d.call, 0, 4),
			load(offsetArguments+8*d.argument), // the low half: both architectures are little-endian
			jump(unix.BPF_JSET, d.bits, 0, 1), deny,
			allow)
	}
	return append(program, allow)
}
