package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	gatewayv1 "example.com/podero-facade/gen/gateway/podero/user/v1"
	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/gateway"
	"example.com/podero-facade/server/interceptor"
	"example.com/podero-facade/server/lookup"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/telemetry"
	"example.com/podero-facade/server/users"
)

const orgID = "016b78a7-0c7c-4241-a277-015c3ad3cb90"

// handlerOf returns the REST side of a service, and its log.
func handlerOf(t testing.TB, service userv1.UserServiceServer, register gateway.Register) (http.Handler, *bytes.Buffer) {
	var written bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&written, nil))
	metrics, err := telemetry.NewMetrics()
	if err != nil {
		t.Fatal(err)
	}
	handler := gateway.New(interceptor.Unary(log, metrics), log, metrics)
	if err := handler.AddService(&userv1.UserService_ServiceDesc, service, register); err != nil {
		t.Fatal(err)
	}
	return handler, &written
}

func routes(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
	return gatewayv1.RegisterUserServiceHandlerClient(ctx, mux, userv1.NewUserServiceClient(conn))
}

func get(handler http.Handler, path string) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	return recorder
}

type panicking struct {
	userv1.UnimplementedUserServiceServer
}

func (panicking) GetUserByExternalId(
	context.Context, *userv1.GetUserByExternalIdRequest,
) (*userv1.GetUserByExternalIdResponse, error) {
	panic("Peter Schmidt")
}

func TestAPanicBecomesInternalWithAConstantText(t *testing.T) {
	for name, register := range map[string]gateway.Register{
		"in the RPC": routes,
		"in the gateway": func(_ context.Context, mux *runtime.ServeMux, _ grpc.ClientConnInterface) error {
			return mux.HandlePath(http.MethodGet, "/api/**", func(http.ResponseWriter, *http.Request, map[string]string) {
				panic("Peter Schmidt")
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			handler, log := handlerOf(t, panicking{}, register)
			got := get(handler, "/api/partners/v2.0/org/"+orgID+"/users/by-ext-id/x")
			if got.Code != 500 || !strings.Contains(got.Body.String(), `"reason":"INTERNAL"`) {
				t.Errorf("%d %s", got.Code, got.Body)
			}
			if strings.Contains(got.Body.String()+log.String(), "Peter") {
				t.Error("the value of the panic is told")
			}
			if !strings.Contains(log.String(), "gateway_test.go") {
				t.Errorf("no stack in the log: %s", log)
			}
		})
	}
}

// deadlines is a service that tells how long its caller waits.
type deadlines struct {
	userv1.UnimplementedUserServiceServer
	wait time.Duration
	ok   bool
}

func (d *deadlines) GetUserByExternalId(
	ctx context.Context, _ *userv1.GetUserByExternalIdRequest,
) (*userv1.GetUserByExternalIdResponse, error) {
	var until time.Time
	until, d.ok = ctx.Deadline()
	d.wait = time.Until(until)
	return nil, fault.New(fault.UserNotFound, nil)
}

func TestGrpcTimeoutIsTheDeadline(t *testing.T) {
	service := &deadlines{}
	handler, _ := handlerOf(t, service, routes)
	request := httptest.NewRequest(http.MethodGet, "/api/partners/v2.0/org/"+orgID+"/users/by-ext-id/x", nil)
	handler.ServeHTTP(httptest.NewRecorder(), request)
	if service.ok {
		t.Errorf("a deadline of %v that nobody set", service.wait)
	}
	request.Header.Set("Grpc-Timeout", "7S")
	handler.ServeHTTP(httptest.NewRecorder(), request)
	if !service.ok || service.wait > 7*time.Second || service.wait < 5*time.Second {
		t.Errorf("deadline in %v, want 7 s", service.wait)
	}
}

// recorded is Podero without a network: it keeps the path of the last request as it is sent.
type recorded struct{ path string }

func (r *recorded) RoundTrip(request *http.Request) (*http.Response, error) {
	r.path, _, _ = strings.Cut(request.URL.RequestURI(), "?")
	org := strings.Split(r.path, "/")[3]
	body := `{"id":"i","organization_id":"` + org + `","role":"user","email":"","num_inverters":0,` +
		`"num_heat_pumps":0,"num_electric_vehicles":0,"num_wallboxes":0}`
	return &http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{"Content-Type": {"application/json"}},
		Body:       io.NopCloser(strings.NewReader(body)),
		Request:    request,
	}, nil
}

// lookups returns the whole way of a lookup to a recorded Podero.
func lookups(tb testing.TB) (*recorded, *users.Service) {
	tb.Helper()
	upstream := &recorded{}
	client, err := podero.NewClient(podero.ClientConfig{
		BaseURL: "http://127.0.0.1/api", Transport: upstream,
		Drift: podero.NewDrift(slog.New(slog.DiscardHandler), func(string, string) {}),
		Count: func(string) {},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return upstream, users.New(lookup.Config{Finder: client})
}

// FuzzExternalID sends an external ID over both protocols: it is refused, or Podero gets exactly it as
// one path segment.
func FuzzExternalID(f *testing.F) {
	for _, id := range []string{
		"134681893870", "a/b c%é", "..", ".", "...", "%2F", "100%", "a%252Fb", "+", "?x=1#y", "", "\x00", "\x85", "\u0085", "\xff", "😀", "{x}", "a:b", "**",
	} {
		f.Add(id)
	}
	upstream, service := lookups(f)
	handler, _ := handlerOf(f, service, routes)
	f.Fuzz(func(t *testing.T, id string) {
		allowed := id != "" && id != "." && id != ".." && utf8.ValidString(id) && utf8.RuneCountInString(id) <= 255 &&
			!strings.ContainsFunc(id, unicode.IsControl)

		upstream.path = ""
		_, err := service.GetUserByExternalId(t.Context(), &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: id})
		check(t, "gRPC", id, allowed, err == nil, fault.Is(err, fault.InvalidRequest), upstream.path)

		upstream.path = ""
		got := get(handler, "/api/partners/v2.0/org/"+orgID+"/users/by-ext-id/"+url.PathEscape(id))
		check(t, "REST", id, allowed, got.Code == 200, got.Code == 400, upstream.path)
	})
}

func check(t *testing.T, protocol, id string, allowed, found, refused bool, path string) {
	t.Helper()
	if found != allowed || refused == allowed {
		t.Fatalf("%s: allowed %v, found %v, refused %v", protocol, allowed, found, refused)
	}
	segment, ok := strings.CutPrefix(path, "/api/org/"+orgID+"/users/by-ext-id/")
	if !allowed {
		if path != "" {
			t.Fatalf("%s: a refused ID reached Podero as %q", protocol, path)
		}
		return
	}
	arrived, err := url.PathUnescape(segment)
	if !ok || err != nil || arrived != id || strings.Contains(segment, "/") {
		t.Fatalf("%s: %q arrived as %q", protocol, id, path)
	}
}

var userPath = regexp.MustCompile(`^/api/org/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/users/by-ext-id/[^/?#]+$`)

// FuzzRESTTarget sends any request target: whatever it is, the answer is JSON, and what reaches Podero
// is one user's path.
func FuzzRESTTarget(f *testing.F) {
	const user = "/api/partners/v2.0/org/" + orgID + "/users/by-ext-id/"
	for _, target := range []string{
		user + "x", user + "a%2Fb", user + "%2e%2e", user + "../x", user + "x?include_deleted=on", user + "x?include_deleted=%zz", "/", "//", "/%ff",
		user + "x:verb", "/api/partners/v2.0/org/..%2f..%2f/users/by-ext-id/x", user + "x?external_id=y&org_id=z", user + "x;y?a;b",
	} {
		f.Add(target)
	}
	upstream, service := lookups(f)
	handler, _ := handlerOf(f, service, routes)
	f.Fuzz(func(t *testing.T, target string) {
		parsed, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return // net/http refuses it before the handler
		}
		upstream.path = ""
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.URL, request.RequestURI = parsed, target
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		if recorder.Code >= 500 || !strings.HasPrefix(recorder.Body.String(), "{") {
			t.Fatalf("%d %s", recorder.Code, recorder.Body)
		}
		if upstream.path != "" && !userPath.MatchString(upstream.path) {
			t.Fatalf("Podero got %q", upstream.path)
		}
	})
}

func TestAPageThatFailsIsAProblem(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	metrics, err := telemetry.NewMetrics()
	if err != nil {
		t.Fatal(err)
	}
	handler := gateway.New(interceptor.Unary(log, metrics), log, metrics)
	handler.AddPage("/page", func(http.ResponseWriter, *http.Request) error { return errors.New("of 10.1.2.3") })
	got := get(handler, "/page")
	if got.Code != 500 || got.Header().Get("Content-Type") != "application/problem+json" ||
		!strings.Contains(got.Body.String(), `"reason":"INTERNAL"`) || strings.Contains(got.Body.String(), "10.1.2.3") {
		t.Errorf("%d %v %s", got.Code, got.Header(), got.Body)
	}
	if got := get(handler, "/page?include_deleted=perhaps"); got.Code != 500 {
		t.Errorf("a query that is wrong for a lookup: %d", got.Code)
	}
}
