package server_test

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metricsv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracesv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server"
)

// collector is an OpenTelemetry collector that keeps what it gets.
type collector struct {
	tracesv1.UnimplementedTraceServiceServer

	mu      sync.Mutex
	traces  []*tracesv1.ExportTraceServiceRequest
	metrics []*metricsv1.ExportMetricsServiceRequest
}

func (c *collector) Export(_ context.Context, request *tracesv1.ExportTraceServiceRequest) (*tracesv1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.traces = append(c.traces, request)
	return &tracesv1.ExportTraceServiceResponse{}, nil
}

// metricsCollector is the other service of a collector, whose method has the same name.
type metricsCollector struct {
	metricsv1.UnimplementedMetricsServiceServer
	*collector
}

func (c metricsCollector) Export(_ context.Context, request *metricsv1.ExportMetricsServiceRequest) (*metricsv1.ExportMetricsServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.metrics = append(c.metrics, request)
	return &metricsv1.ExportMetricsServiceResponse{}, nil
}

// listenGRPC serves the collector over gRPC and returns its URL.
func (c *collector) listenGRPC(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	tracesv1.RegisterTraceServiceServer(s, c)
	metricsv1.RegisterMetricsServiceServer(s, metricsCollector{collector: c})
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(listener) })
	t.Cleanup(func() {
		s.Stop()
		serving.Wait()
	})
	return "http://" + listener.Addr().String()
}

// listenHTTP serves the collector over HTTP and returns its URL.
func (c *collector) listenHTTP(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			unzipped, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = unzipped
		}
		content, err := io.ReadAll(body)
		if err != nil {
			t.Error(err)
			return
		}
		switch r.URL.Path {
		case "/v1/traces":
			request := &tracesv1.ExportTraceServiceRequest{}
			err = proto.Unmarshal(content, request)
			_, _ = c.Export(r.Context(), request)
		case "/v1/metrics":
			request := &metricsv1.ExportMetricsServiceRequest{}
			err = proto.Unmarshal(content, request)
			_, _ = metricsCollector{collector: c}.Export(r.Context(), request)
		default:
			err = fmt.Errorf("path %s", r.URL.Path)
		}
		if err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// spans returns all spans, by name.
func (c *collector) spans() map[string][]*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	spans := map[string][]*tracepb.Span{}
	for _, request := range c.traces {
		for _, resource := range request.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				for _, span := range scope.GetSpans() {
					spans[span.GetName()] = append(spans[span.GetName()], span)
				}
			}
		}
	}
	return spans
}

// metricNames returns the names of all metrics that came.
func (c *collector) metricNames() (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, request := range c.metrics {
		for _, resource := range request.GetResourceMetrics() {
			for _, scope := range resource.GetScopeMetrics() {
				for _, metric := range scope.GetMetrics() {
					names = append(names, metric.GetName())
				}
			}
		}
	}
	return names
}

// text returns all that came, as text.
func (c *collector) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, request := range c.traces {
		b.WriteString(prototext.Format(request))
	}
	for _, request := range c.metrics {
		b.WriteString(prototext.Format(request))
	}
	return b.String()
}

func attributesOf(list []*commonpb.KeyValue) map[string]string {
	found := map[string]string{}
	for _, attribute := range list {
		switch value := attribute.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			found[attribute.GetKey()] = value.StringValue
		case *commonpb.AnyValue_IntValue:
			found[attribute.GetKey()] = fmt.Sprint(value.IntValue)
		}
	}
	return found
}

const (
	serverSpan = "podero.user.v1.UserService/GetUserByExternalId"
	clientSpan = "GET /org/{org_id}/users/by-ext-id/{external_id}"
	callTrace  = "0af7651916cd43dd8448eb211c80319c"
	callSpan   = "b7ad6b7169203331"
)

func TestTracesAndMetricsGoWhereTheVariablesSay(t *testing.T) {
	for protocol, listen := range map[string]func(*collector, *testing.T) string{
		"grpc": (*collector).listenGRPC, "http/protobuf": (*collector).listenHTTP, "": (*collector).listenHTTP,
	} {
		for _, over := range protocols {
			t.Run(protocol+" "+over.name, func(t *testing.T) {
				c := &collector{}
				t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", listen(c, t))
				t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
				t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
				u := newUpstream(t, inTurn(replyJSON(503, detail), good), nil)
				s := start(t, u, nil)
				header := http.Header{
					"Traceparent": {"00-" + callTrace + "-" + callSpan + "-01"}, "Tracestate": {"vendor=1"}, "X-Request-Id": {"request-1"},
				}
				if got := over.lookup(t.Context(), t, s, theUser(), header); got.user == nil {
					t.Fatal(got.reason)
				}
				if err := s.stop(); err != nil {
					t.Fatal(err)
				}
				checkSpans(t, c, u)
				for _, name := range []string{"rpc.server.call.duration", "http.client.request.duration", "podero_facade_lookups_total"} {
					if !slices.Contains(c.metricNames(), name) {
						t.Errorf("no metric %s", name)
					}
				}
				if written := c.text(); secretIn(strings.ReplaceAll(written, "127.0.0.1", "")) {
					t.Errorf("it tells too much: %s", written)
				}
			})
		}
	}
}

// checkSpans checks the spans of a call that succeeded at the second attempt.
func checkSpans(t *testing.T, c *collector, u *upstream) {
	t.Helper()
	spans := c.spans()
	if len(spans[serverSpan]) != 1 || len(spans[clientSpan]) != 2 || len(spans["POST /oauth2/token/"]) != 1 {
		t.Fatalf("spans %v", spans)
	}
	call := spans[serverSpan][0]
	if hex.EncodeToString(call.GetTraceId()) != callTrace || hex.EncodeToString(call.GetParentSpanId()) != callSpan {
		t.Errorf("the call is in trace %x below %x", call.GetTraceId(), call.GetParentSpanId())
	}
	got := attributesOf(call.GetAttributes())
	for key, want := range map[string]string{
		"rpc.system.name": "grpc", "rpc.method": serverSpan, "rpc.response.status_code": "OK",
		"podero_facade.request_id": "request-1",
	} {
		if got[key] != want {
			t.Errorf("the call's %s is %q, want %q", key, got[key], want)
		}
	}
	statuses := map[string]bool{}
	for i, attempt := range spans[clientSpan] {
		if string(attempt.GetParentSpanId()) != string(call.GetSpanId()) {
			t.Errorf("the attempt is below %x, not below the call", attempt.GetParentSpanId())
		}
		sent := u.apiRequests()[i].Header.Get("Traceparent")
		if want := fmt.Sprintf("00-%s-%x-01", callTrace, attempt.GetSpanId()); sent != want {
			t.Errorf("Podero got traceparent %s, want %s", sent, want)
		}
		if state := u.apiRequests()[i].Header.Get("Tracestate"); state != "" {
			t.Errorf("Podero got tracestate %s", state)
		}
		got := attributesOf(attempt.GetAttributes())
		statuses[got["http.response.status_code"]] = true
		if got["url.full"]+got["url.path"] != "" || got["http.request.method"] != "GET" || got["server.address"] != "127.0.0.1" {
			t.Errorf("attributes %v", got)
		}
	}
	if !statuses["200"] || !statuses["503"] {
		t.Errorf("the attempts' statuses are %v", statuses)
	}
}

func TestASpanTellsWhyACallFailed(t *testing.T) {
	c := &collector{}
	t.Setenv("OTEL_TRACES_EXPORTER", "otlp")
	t.Setenv("OTEL_METRICS_EXPORTER", "none")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.listenHTTP(t))
	s := start(t, newUpstream(t, reply(500, "text/html", html), nil), nil)
	overBoth(t, s, func(_ *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
		lookup(theUser(), nil)
	})
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	spans := c.spans()[serverSpan]
	if len(spans) != 2 {
		t.Fatalf("%d spans", len(spans))
	}
	for _, span := range spans {
		got := attributesOf(span.GetAttributes())
		if span.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_ERROR || got["rpc.response.status_code"] != "UNAVAILABLE" ||
			got["error.type"] != "UPSTREAM_UNAVAILABLE" || got["podero_facade.reason"] != "UPSTREAM_UNAVAILABLE" {
			t.Errorf("status %v, attributes %v", span.GetStatus(), got)
		}
	}
	if len(c.metrics) > 0 {
		t.Error("metrics were exported")
	}
}

func TestNothingIsExportedUnlessItIsAskedFor(t *testing.T) {
	c := &collector{}
	url := c.listenHTTP(t)
	for name, variables := range map[string]map[string]string{
		"no variable":      {},
		"no exporter":      {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": url},
		"the SDK disabled": {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": url},
	} {
		t.Run(name, func(t *testing.T) {
			for variable, value := range variables {
				t.Setenv(variable, value)
			}
			s := start(t, newUpstream(t, good, nil), nil)
			if got := lookupGRPC(t.Context(), t, s, theUser(), nil); got.user == nil {
				t.Error(got.reason)
			}
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		})
	}
	if text := c.text(); text != "" {
		t.Errorf("exported: %s", text)
	}
}

func TestVariablesThatTheSDKWouldMisreadAreRefused(t *testing.T) {
	for variable, value := range map[string]string{
		"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_METRICS_EXPORTER": "console", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
		"OTEL_BSP_MAX_QUEUE_SIZE": "-1", "OTEL_BSP_SCHEDULE_DELAY": "0", "OTEL_EXPORTER_OTLP_HEADERS": "x-key: hunter2",
	} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
			t.Setenv(variable, value)
			config := settings(newUpstream(t, good, nil))
			if err := config.Check(); err == nil || !strings.HasPrefix(err.Error(), variable+": ") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestAVariableThatChangesNothingIsAWarning(t *testing.T) {
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
	s := start(t, newUpstream(t, good, nil), nil)
	if log := s.log.String(); strings.Count(log, "OTEL_BSP_MAX_QUEUE_SIZE: must be") != 1 {
		t.Errorf("log = %s, want a warning", log)
	}
}

func TestAnExporterThatHangsSlowsNoCall(t *testing.T) {
	hanging, err := net.Listen("tcp", "127.0.0.1:0") // connections are made, and nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hanging.Close() }()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+hanging.Addr().String())
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8") // is full at once
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
	s := start(t, newUpstream(t, good, nil), func(c *server.Config) { c.CacheTTL = time.Hour })
	ctx, cancel := context.WithTimeout(t.Context(), testLimit) // of all calls together
	defer cancel()
	for i := range 200 {
		if got := lookupGRPC(ctx, t, s, theUser(), nil); got.code != codes.OK {
			t.Fatalf("call %d: %v %s", i, got.code, got.reason)
		}
	}
	begun := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > testLimit {
		t.Errorf("it took %v to stop", took)
	}
}
