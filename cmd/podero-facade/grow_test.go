//go:build fleet

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

// cpu returns how long a replica has kept a processor busy.
func (r *replica) cpu(t *testing.T) time.Duration {
	t.Helper()
	fields := r.proc(t, "stat")
	_, fields, _ = strings.Cut(fields, ") ")
	var ticks int64
	for _, field := range strings.Fields(fields)[11:13] { // utime and stime (proc_pid_stat(5)), in 1/100 s
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// memory returns how many KiB of memory a replica takes.
func (r *replica) memory(t *testing.T) (kib int64) {
	t.Helper()
	_, rest, _ := strings.Cut(r.proc(t, "status"), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}

func (r *replica) proc(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", r.cmd.Process.Pid, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestGrowReplicas measures what a call costs, and how often Podero is asked, with more and more replicas and calls.
func TestGrowReplicas(t *testing.T) {
	const users, rate, duration = 2000, 200, 20 * time.Second // rate: of each replica's calls
	for _, share := range []bool{false, true} {
		for n := 1; n <= 3; n++ {
			t.Run(fmt.Sprintf("%d, shared %v", n, share), func(t *testing.T) {
				f := newFleet(t, n, share)
				c := f.viaGRPC("gRPC", documentedConfig(t))
				c.load(10, func() string { return "warm" })()
				asked, busy := f.asked.Load(), -f.cpu()
				end := c.load(float64(rate*n), func() string { return strconv.Itoa(rand.IntN(users)) })
				<-time.After(duration)
				end()
				busy += f.cpu()
				asked = f.asked.Load() - asked
				calls, failures, _ := c.count()
				t.Logf("%d calls, %d failed, %d asked of Podero, %v of CPU for a call", calls, len(failures), asked, (busy / time.Duration(calls)).Round(time.Microsecond))
				if len(failures) > 0 {
					t.Errorf("failed: %s", failures[0].text)
				}
				if share && asked > users*3/2 { // once, but for what a busy machine finds no answer to in time
					t.Errorf("want each of %d users asked for about once", users)
				}
			})
		}
	}
}

func (f *fleet) cpu() (sum time.Duration) {
	f.t.Helper()
	for _, r := range f.replicas {
		sum += r.cpu(f.t)
	}
	return sum
}

// TestGrowConnections measures what a connection costs that is idle.
func TestGrowConnections(t *testing.T) {
	const connections = 2000
	f := newFleet(t, 1, false)
	r := f.replicas[0]
	before := r.memory(t)
	for range connections {
		conn, err := grpc.NewClient(r.host+":"+f.grpcPort, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := userv1.NewUserServiceClient(conn).GetUserByExternalId(t.Context(), &userv1.GetUserByExternalIdRequest{OrgId: fleetOrg, ExternalId: "1"}); err != nil {
			t.Fatal(err)
		}
	}
	each := float64(r.memory(t)-before) / connections
	t.Logf("%.0f KiB for a connection, beside %d KiB without any", each, before)
	if each > 100 {
		t.Error("want less than 100")
	}
}
