package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asProgram is the variable that makes the test's binary the program.
const asProgram = "TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestASecondSignalEndsTheProgramAtOnce(t *testing.T) {
	program := exec.Command(os.Args[0], "serve", "--client-id=x",
		"--upstream-url=http://127.0.0.1:1", "--token-url=http://127.0.0.1:1/",
		"--grpc-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0",
		"--shutdown-drain-delay=1h")
	program.Env = append(os.Environ(), asProgram+"=1", "PODERO_FACADE_CLIENT_SECRET=x")
	log := &output{}
	program.Stderr = log
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- program.Wait() }()
	t.Cleanup(func() { _ = program.Process.Kill() })
	log.find(t, `"serving"`)
	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	log.find(t, `"draining"`)
	// The first signal may still be being handled, and then takes the next for its own.
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for deadline := time.After(patience); ; {
		select {
		case err := <-ended:
			if err == nil || !strings.Contains(err.Error(), "signal: terminated") {
				t.Errorf("ended with %v", err)
			}
			return
		case <-again.C:
			_ = program.Process.Signal(syscall.SIGTERM) // it may have ended by now
		case <-deadline:
			t.Fatal("it still drains")
		}
	}
}
