//go:build fleet || chaos

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver/dns"
	"google.golang.org/grpc/stats"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

var scale = flag.Float64("scale", 1, "how much of the fleet's life to play")

const (
	fleetName   = "podero-facade.test"
	fleetOrg    = "016b78a7-0c7c-4241-a277-015c3ad3cb90"
	popular     = 1000                   // users that half of the lookups are of
	propagation = 500 * time.Millisecond // until DNS and nginx forget a replica that ends
)

// fleet is some replicas on loopback addresses of their own, with all that is around them.
type fleet struct {
	t        *testing.T
	dir      string
	upstream string       // the URL of Podero and its token endpoint
	asked    atomic.Int64 // lookups at the upstream
	names    *nameServer
	redis    *exec.Cmd
	nginx    *exec.Cmd
	replicas []*replica
	started  int // so far
	flags    []string
	shell    string // what a replica's shell runs first, if it has one
	stalled  bool   // nobody reads what a replica writes

	grpcPort, httpPort, adminPort, redisPort, nginxPort string
}

// replica is a process of the program's.
type replica struct {
	host  string
	admin string
	cmd   *exec.Cmd
	log   *output
}

// freePort returns a port that is free on every loopback address, as far as one can know.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// newFleet starts a fleet of n replicas, which share answers or not.
func newFleet(t *testing.T, n int, share bool) *fleet {
	t.Helper()
	f := emptyFleet(t)
	upstream := httptest.NewServer(http.HandlerFunc(f.answer))
	t.Cleanup(upstream.Close)
	f.upstream = upstream.URL
	f.flags = []string{"--cache-ttl=1h"}
	if share {
		f.startRedis()
		f.flags = append(f.flags, "--cache-redis-url=redis://127.0.0.1:"+f.redisPort)
	}
	for range n {
		f.start()
	}
	f.startNginx()
	return f
}

// emptyFleet returns a fleet without upstream and replicas.
func emptyFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{
		t: t, dir: t.TempDir(), names: newNameServer(t),
		grpcPort: freePort(t), httpPort: freePort(t), adminPort: freePort(t), redisPort: freePort(t), nginxPort: freePort(t),
	}
	if err := os.Chmod(f.dir, 0o755); err != nil { // nginx's workers are another user's
		t.Fatal(err)
	}
	return f
}

// answer is Podero, which takes 10 ms for each user, and its token endpoint.
func (f *fleet) answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/oauth2/token/" {
		_, _ = io.WriteString(w, `{"access_token":"token","expires_in":36000,"token_type":"Bearer"}`)
		return
	}
	f.asked.Add(1)
	<-time.After(10 * time.Millisecond)
	_, _ = fmt.Fprintf(w, `{"id":"3c90c3cc-0d44-4b50-8888-8dd25736052a","organization_id":%q,"role":"user","email":"peter.schmidt@example.com",`+
		`"num_inverters":1,"num_heat_pumps":1,"num_electric_vehicles":0,"num_wallboxes":0,"external_user_id":%q,"first_name":"Peter"}`,
		fleetOrg, r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
}

// run starts a program that ends with the test, by a signal that nginx takes its workers along at.
func (f *fleet) run(cmd *exec.Cmd) *exec.Cmd {
	f.t.Helper()
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Process.Signal(syscall.SIGTERM) // a replica ends at once at the second
		_ = cmd.Wait()
	})
	return cmd
}

// await waits until something holds.
func (f *fleet) await(what string, holds func() bool) {
	f.t.Helper()
	for end := time.Now().Add(patience); !holds(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("not in time: %s", what)
		}
	}
}

func accepts(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

func (f *fleet) startRedis() {
	f.redis = f.run(exec.Command("redis-server", "--bind", "127.0.0.1", "--port", f.redisPort, "--dir", f.dir, "--save", ""))
	f.await("Redis", func() bool { return accepts("127.0.0.1:" + f.redisPort) })
}

// start adds a replica at a new address.
func (f *fleet) start() *replica {
	f.t.Helper()
	f.started++
	host := fmt.Sprintf("127.77.%d.%d", f.started/200, 1+f.started%200)
	r := &replica{host: host, admin: host + ":" + f.adminPort, log: &output{}}
	command := []string{os.Args[0]}
	if f.shell != "" {
		command = []string{"sh", "-c", f.shell + `; exec "$0" "$@"`, os.Args[0]}
	}
	args := append(command[1:], "serve", "--client-id=fleet", "--log-level=warn", "--shutdown-drain-delay=2s",
		"--upstream-url="+f.upstream+"/api/partners/v2.0", "--token-url="+f.upstream+"/oauth2/token/",
		"--grpc-listen="+host+":"+f.grpcPort, "--http-listen="+host+":"+f.httpPort, "--admin-listen="+r.admin)
	r.cmd = exec.Command(command[0], append(args, f.flags...)...)
	r.cmd.Env = append(os.Environ(), asProgram+"=1", "PODERO_FACADE_CLIENT_SECRET=fleet", "NO_PROXY=*")
	r.cmd.Stderr = r.log
	if f.stalled {
		r.cmd.Stdout, r.cmd.Stderr = f.unread(), f.unread()
	}
	f.run(r.cmd)
	f.await("a replica", func() bool {
		response, err := http.Get("http://" + r.admin + "/readyz")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	f.replicas = append(f.replicas, r)
	f.publish()
	return r
}

// unread returns a pipe that nobody reads.
func (f *fleet) unread() *os.File {
	f.t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		_ = writer.Close()
		_ = reader.Close()
	})
	return writer
}

// forget takes a replica away from DNS and nginx.
func (f *fleet) forget(gone *replica) {
	for i, r := range f.replicas {
		if r == gone {
			f.replicas = append(f.replicas[:i:i], f.replicas[i+1:]...)
			break
		}
	}
	f.publish()
}

// restart replaces a replica by one at a new address, without losing a call.
func (f *fleet) restart(old *replica) {
	f.t.Helper()
	f.start()
	if err := old.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		f.t.Fatal(err)
	}
	<-time.After(propagation)
	f.forget(old)
	if err := old.cmd.Wait(); err != nil {
		f.t.Errorf("a replica ended with %v: %s", err, old.log)
	}
}

// publish tells DNS and nginx of the replicas that there are.
func (f *fleet) publish() {
	f.t.Helper()
	var addresses []netip.Addr
	var servers strings.Builder
	for _, r := range f.replicas {
		addresses = append(addresses, netip.MustParseAddr(r.host))
		_, _ = fmt.Fprintf(&servers, "server %s:%s;\n", r.host, f.httpPort)
	}
	f.names.set(addresses)
	if err := os.WriteFile(filepath.Join(f.dir, "servers"), []byte(servers.String()), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if f.nginx != nil {
		if err := f.nginx.Process.Signal(syscall.SIGHUP); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *fleet) startNginx() {
	config := regexp.MustCompile(`\$(dir|port)\b`).ReplaceAllStringFunc(`
daemon off; pid $dir/pid; error_log $dir/errors; worker_processes 1;
events { worker_connections 1024; }
http {
  client_body_temp_path $dir/a; proxy_temp_path $dir/b; fastcgi_temp_path $dir/c; uwsgi_temp_path $dir/d; scgi_temp_path $dir/e;
  log_format attempts '$status $upstream_status';
  access_log $dir/attempts attempts;
  upstream fleet { include $dir/servers; keepalive 32; }
  server {
    listen 127.0.0.1:$port;
    location / { proxy_pass http://fleet; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host localhost; proxy_connect_timeout 1s; }
  }
}`, func(name string) string { return map[string]string{"$dir": f.dir, "$port": f.nginxPort}[name] })
	path := filepath.Join(f.dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.nginx = f.run(exec.Command("nginx", "-c", path))
	f.await("nginx", func() bool { return accepts("127.0.0.1:" + f.nginxPort) })
}

// nginxAttempts returns how many exchanges with replicas nginx had to repeat so far.
func (f *fleet) nginxAttempts() int64 {
	content, err := os.ReadFile(filepath.Join(f.dir, "attempts"))
	if err != nil {
		f.t.Fatal(err)
	}
	return int64(strings.Count(string(content), ","))
}

// metric returns a metric of a replica's.
func (f *fleet) metric(r *replica, name string) float64 {
	f.t.Helper()
	_, body := get(f.t, "http://"+r.admin+"/metrics")
	match := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(body)
	if match == nil {
		return 0
	}
	value, err := strconv.ParseFloat(match[1], 64)
	if err != nil {
		f.t.Fatal(err)
	}
	return value
}

// nameServer answers questions for the addresses of the fleet, as a headless Service's does.
type nameServer struct {
	conn net.PacketConn

	mu        sync.Mutex
	addresses []netip.Addr
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameServer{conn: conn}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer, err := n.answer(buffer[:size]); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return n
}

func (n *nameServer) set(addresses []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addresses = addresses
}

func (n *nameServer) answer(question []byte) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(question); err != nil || len(message.Questions) != 1 {
		return nil, fmt.Errorf("no question: %w", err)
	}
	asked := message.Questions[0]
	answer := dnsmessage.Message{Header: dnsmessage.Header{ID: message.ID, Response: true, Authoritative: true}, Questions: message.Questions}
	if asked.Name.String() != fleetName+"." {
		answer.RCode = dnsmessage.RCodeNameError
	} else if asked.Type == dnsmessage.TypeA {
		n.mu.Lock()
		for _, address := range n.addresses {
			answer.Answers = append(answer.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: asked.Name, Type: asked.Type, Class: asked.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: address.As4()},
			})
		}
		n.mu.Unlock()
	}
	return answer.Pack()
}

// documentedConfig returns the service config of docs/clients.md.
func documentedConfig(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "clients.md"))
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile("(?s)```json\n(.*?)```").FindSubmatch(text)
	if match == nil {
		t.Fatal("there is no service config in docs/clients.md")
	}
	return string(match[1])
}

// caller makes calls in one way, and counts them.
type caller struct {
	name   string
	lookup func(ctx context.Context, id string) (host string, err error)

	mu       sync.Mutex
	calls    int64
	failures []failure
	hosts    map[string]int64 // how many calls each replica answered, as far as that is known
	attempts atomic.Int64     // that failed, of those that are seen
}

// failure is a call that failed.
type failure struct {
	at   time.Time
	text string
}

// TagRPC, HandleRPC, TagConn and HandleConn count the attempts that failed.
func (c *caller) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC sees the end of each attempt.
func (c *caller) HandleRPC(_ context.Context, event stats.RPCStats) {
	if end, ok := event.(*stats.End); ok && end.Error != nil {
		c.attempts.Add(1)
	}
}

// TagConn does nothing.
func (c *caller) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn does nothing.
func (c *caller) HandleConn(context.Context, stats.ConnStats) {}

// viaGRPC is a client with the documented service config.
func (f *fleet) viaGRPC(name, config string) *caller {
	f.t.Helper()
	dns.SetMinResolutionInterval(5 * time.Second) // as documented
	c := &caller{name: name, hosts: map[string]int64{}}
	conn, err := grpc.NewClient(fmt.Sprintf("dns://%s/%s:%s", f.names.conn.LocalAddr(), fleetName, f.grpcPort),
		grpc.WithDefaultServiceConfig(config), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStatsHandler(c))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = conn.Close() })
	users := userv1.NewUserServiceClient(conn)
	c.lookup = func(ctx context.Context, id string) (string, error) {
		var from peer.Peer
		_, err := users.GetUserByExternalId(ctx, &userv1.GetUserByExternalIdRequest{OrgId: fleetOrg, ExternalId: id}, grpc.Peer(&from))
		if from.Addr == nil {
			return "", err
		}
		host, _, _ := net.SplitHostPort(from.Addr.String())
		return host, err
	}
	return c
}

// viaREST is a client behind nginx, without retries of its own.
func (f *fleet) viaREST() *caller {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	f.t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	base := "http://127.0.0.1:" + f.nginxPort + "/api/partners/v2.0/org/" + fleetOrg + "/users/by-ext-id/"
	return &caller{name: "REST", hosts: map[string]int64{}, lookup: func(ctx context.Context, id string) (string, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+id, nil)
		if err != nil {
			return "", err
		}
		response, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer func() { _ = response.Body.Close() }()
		if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
			return "", fmt.Errorf("HTTP status %d, %w", response.StatusCode, err)
		}
		return "", nil
	}}
}

// call makes a call and counts it.
func (c *caller) call(id string) {
	at := time.Now()
	host, err := c.lookup(context.Background(), id)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	c.hosts[host]++
	if err != nil {
		c.failures = append(c.failures, failure{at, err.Error()})
	}
}

// someone returns a user: one of a few for half of the calls.
func someone() string {
	if rand.IntN(2) == 0 {
		return strconv.Itoa(rand.IntN(popular))
	}
	return strconv.Itoa(rand.IntN(1 << 30))
}

// load makes calls at a rate, until it is told to end.
func (c *caller) load(rate float64, id func() string) (end func()) {
	var running sync.WaitGroup
	stop := make(chan struct{})
	running.Go(func() {
		begun := time.Now()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Until(begun.Add(time.Duration(float64(i) / rate * float64(time.Second))))):
				running.Go(func() { c.call(id()) })
			}
		}
	})
	return func() {
		close(stop)
		running.Wait()
	}
}

// count returns the calls so far, those that failed and the attempts that did.
func (c *caller) count() (calls int64, failures []failure, attempts int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls, append([]failure(nil), c.failures...), c.attempts.Load()
}
