package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime returns how much CPU a process has used so far, in user and in kernel mode.
func cpuTime(pid int) (time.Duration, error) {
	var used unix.Timespec
	// The clock of another process: MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of the kernel. /proc/PID/stat has the
	// same in steps of 10 ms.
	if err := unix.ClockGettime(int32(^pid<<3|2), &used); err != nil { //nolint:gosec // PIDs have 22 bits at most
		return 0, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(used.Nano()), nil
}

// memory returns a process's memory in bytes: what is resident now (VmRSS), or was at most (VmHWM).
func memory(pid int, which string) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == which+":" {
			kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no %s", pid, which)
}
