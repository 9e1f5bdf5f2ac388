package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server"
	"example.com/podero-facade/server/secret"
	"example.com/podero-facade/server/token"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // net/http's remarks on upstreams that misbehave
	goleak.VerifyTestMain(m)
}

const (
	orgID      = "016b78a7-0c7c-4241-a277-015c3ad3cb90"
	externalID = "134681893870"
	testLimit  = 20 * time.Second // of anything that a test waits for
)

// upstream is Podero and its token endpoint, on loopback, behaving as a test wants.
type upstream struct {
	server *httptest.Server
	api    http.HandlerFunc
	token  http.HandlerFunc

	mu       sync.Mutex
	requests []*http.Request // to the API
	asked    int             // how often for a token
}

// newUpstream starts an upstream. Without a token handler it grants token-1, token-2 and so on.
func newUpstream(t testing.TB, api, token http.HandlerFunc) *upstream {
	u := &upstream{api: api, token: token}
	if u.token == nil {
		u.token = grant
	}
	u.server = httptest.NewServer(u)
	t.Cleanup(u.server.Close)
	return u
}

type tokenNumber struct{}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/oauth2/token/" {
		u.mu.Lock()
		u.asked++
		r = r.WithContext(context.WithValue(r.Context(), tokenNumber{}, u.asked))
		u.mu.Unlock()
		u.token(w, r)
		return
	}
	u.mu.Lock()
	u.requests = append(u.requests, r)
	api := u.api
	u.mu.Unlock()
	api(w, r)
}

// answer changes how the API behaves.
func (u *upstream) answer(api http.HandlerFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.api = api
}

func (u *upstream) apiRequests() []*http.Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.requests
}

func (u *upstream) tokensAsked() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked
}

// grant is a token endpoint that gives token-1, token-2 and so on.
func grant(w http.ResponseWriter, r *http.Request) {
	number := r.Context().Value(tokenNumber{}).(int)
	reply(200, "application/json",
		`{"access_token":"token-`+strconv.Itoa(number)+`","expires_in":36000,"token_type":"Bearer"}`)(w, r)
}

// reply is an upstream that always answers the same.
func reply(code int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// replyJSON is an upstream that always answers the same JSON.
func replyJSON(code int, body string) http.HandlerFunc { return reply(code, "application/json", body) }

// withHeader adds a header to what an upstream answers.
func withHeader(name, value string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(name, value)
		next(w, r)
	}
}

// hijack is an upstream that writes raw bytes and closes the connection.
func hijack(raw string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, raw)
		_ = conn.Close()
	}
}

// silent is an upstream that accepts a request and answers nothing.
func silent(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// service is a running service with its clients.
type service struct {
	*server.Server
	upstream *upstream
	log      *safeBuffer
	grpc     userv1.UserServiceClient
	conn     *grpc.ClientConn
	rest     *http.Client
	scheme   string       // of REST
	failFast bool         // whether a handshake that fails ends a call over gRPC
	stop     func() error // ends it as a signal would, and returns what Run did
}

// settings returns a valid configuration with every URL on loopback.
func settings(u *upstream) server.Config {
	config := server.Config{
		Listen:  server.Listen{GRPCListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", AdminListen: "127.0.0.1:0"},
		TLS:     server.TLS{TLSMinVersion: "1.3"},
		Callers: server.Callers{CallerAuth: []string{server.CallerNone}},
		Upstream: server.Upstream{
			UpstreamURL:            u.server.URL + "/api/partners/v2.0",
			UpstreamAuth:           server.AuthClientCredentials,
			TokenURL:               u.server.URL + "/oauth2/token/",
			TokenRequestFormat:     token.Auto,
			ClientID:               "client",
			ClientSecret:           secret.New(clientSecret),
			UpstreamTimeout:        testLimit,
			UpstreamAttemptTimeout: testLimit,
			UpstreamMaxAttempts:    3,
		},
		Shutdown: server.Shutdown{ShutdownTimeout: testLimit},
		Logging:  server.Logging{LogLevel: slog.LevelDebug, LogFormat: "json"},
	}
	return config
}

const clientSecret = "s3cr3t+%:"

// secretFile returns the name of a file with the client secret.
func secretFile(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(clientSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// start starts the service in front of an upstream. change, if there is one, alters the settings first.
func start(t testing.TB, u *upstream, change func(*server.Config)) *service {
	t.Helper()
	config := settings(u)
	if change != nil {
		change(&config)
	}
	if err := config.Check(); err != nil {
		t.Fatal(err)
	}
	written := &safeBuffer{}
	s, err := server.New(config, slog.New(slog.NewJSONHandler(written, &slog.HandlerOptions{Level: config.LogLevel})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	conn, err := grpc.NewClient(s.GRPCAddr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13}}
	t.Cleanup(func() {
		_ = conn.Close()
		transport.CloseIdleConnections()
		_ = stop()
	})
	return &service{Server: s, upstream: u, log: written, conn: conn, stop: stop,
		scheme: "http", grpc: userv1.NewUserServiceClient(conn), rest: &http.Client{Transport: transport}}
}

// safeBuffer is a log that a test reads while the service writes it.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
