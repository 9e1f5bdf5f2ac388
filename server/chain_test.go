package server

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server/gateway"
	"example.com/podero-facade/server/interceptor"
	"example.com/podero-facade/server/secret"
	"example.com/podero-facade/server/telemetry"
	"example.com/podero-facade/server/token"
)

// memoryUpstream is Podero and its token endpoint without a network between.
type memoryUpstream struct{ document []byte }

func (m *memoryUpstream) RoundTrip(request *http.Request) (*http.Response, error) {
	body := m.document
	if request.Method == http.MethodPost {
		body = []byte(`{"access_token": "a", "expires_in": 36000, "token_type": "Bearer"}`)
	}
	return &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Request: request, ContentLength: int64(len(body)),
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)),
	}, nil
}

// chain is the whole way of a lookup, from a protocol's server to the upstream, without a network.
type chain struct {
	service   service
	intercept grpc.UnaryServerInterceptor
	rest      http.Handler
}

func newChain(t testing.TB, cacheTTL time.Duration) *chain {
	document, err := os.ReadFile("sandbox/users/134681893870.json")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{log: slog.New(slog.DiscardHandler), connections: newConnectionLimit(maxDescriptors()), config: Config{
		Upstream: Upstream{
			UpstreamURL: nowhere, TokenURL: nowhere, UpstreamAuth: AuthClientCredentials,
			TokenRequestFormat: token.Auto, ClientID: "client", ClientSecret: secret.New("secret"),
			UpstreamTimeout: time.Minute, UpstreamAttemptTimeout: time.Minute, UpstreamMaxAttempts: 3,
		},
		Cache: Cache{CacheTTL: cacheTTL},
	}}
	observed, err := telemetry.New(context.Background(), "", s.log)
	if err != nil {
		t.Fatal(err)
	}
	finder, err := s.newFinder(observed, &memoryUpstream{document}, &memoryUpstream{document})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var background sync.WaitGroup
	for _, run := range s.background {
		background.Go(func() { run(ctx) })
	}
	t.Cleanup(func() {
		s.close()
		cancel()
		background.Wait()
	})
	services := s.config.services(finder)
	c := &chain{service: services[0], intercept: interceptor.Unary(s.log, observed.Metrics)}
	rest := gateway.New(c.intercept, s.log, observed.Metrics)
	if err := rest.AddService(c.service.desc, c.service.handler, c.service.route); err != nil {
		t.Fatal(err)
	}
	c.rest = rest
	return c
}

const (
	nowhere  = "http://127.0.0.1:1"
	chainOrg = "016b78a7-0c7c-4241-a277-015c3ad3cb90"
	chainURL = "/api/partners/v2.0/org/" + chainOrg + "/users/by-ext-id/134681893870"
)

// overGRPC is a lookup as grpc-go's server makes it.
func (c *chain) overGRPC(t testing.TB) func() {
	handle := c.service.desc.Methods[0].Handler
	decode := func(request any) error {
		request.(*userv1.GetUserByExternalIdRequest).OrgId = chainOrg
		request.(*userv1.GetUserByExternalIdRequest).ExternalId = "134681893870"
		return nil
	}
	return func() {
		ctx := grpc.NewContextWithServerTransportStream(context.Background(), &stream{})
		response, err := handle(c.service.handler, ctx, decode, c.intercept)
		if err != nil || response.(*userv1.GetUserByExternalIdResponse).GetUser().GetFirstName() != "Peter" {
			t.Fatal(response, err)
		}
	}
}

// stream is what grpc-go's server has for each call, as far as a handler sets headers.
type stream struct {
	grpc.ServerTransportStream
	header metadata.MD
}

func (s *stream) SetHeader(md metadata.MD) error {
	s.header = metadata.Join(s.header, md)
	return nil
}

// overREST is a lookup as net/http's server makes it.
func (c *chain) overREST(t testing.TB) func() {
	request := httptest.NewRequest(http.MethodGet, chainURL, nil)
	return func() {
		writer := &discard{header: http.Header{}}
		c.rest.ServeHTTP(writer, request)
		if !bytes.Contains(writer.seen, []byte(`"Peter"`)) {
			t.Fatalf("%d %s", writer.status, writer.seen)
		}
	}
}

// discard is a ResponseWriter that keeps what was written last.
type discard struct {
	header http.Header
	status int
	seen   []byte
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(s int)   { d.status = s }
func (d *discard) Write(p []byte) (int, error) {
	d.seen = p
	return len(p), nil
}

// ways are how a lookup can go, and how many allocations it may take.
var ways = []struct {
	name    string
	cached  time.Duration
	lookup  func(*chain, testing.TB) func()
	ceiling float64
}{
	{"gRPC uncached", 0, (*chain).overGRPC, 53},
	{"gRPC cached", time.Hour, (*chain).overGRPC, 25},
	{"REST uncached", 0, (*chain).overREST, 84},
	{"REST cached", time.Hour, (*chain).overREST, 51},
}

// BenchmarkLookup is a lookup without a network: what the service adds to gRPC, net/http and the upstream.
func BenchmarkLookup(b *testing.B) {
	for _, way := range ways {
		b.Run(way.name, func(b *testing.B) {
			lookup := way.lookup(newChain(b, way.cached), b)
			b.ReportAllocs()
			for b.Loop() {
				lookup()
			}
		})
	}
}
