// Package gateway is the REST side of the service: grpc-gateway in front of the RPCs, speaking Podero's own
// JSON and problem details (contract.md, section 3).
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"example.com/podero-facade/server/cache"
	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/internal/recovery"
	"example.com/podero-facade/server/lookup"
	"example.com/podero-facade/server/requestid"
	"example.com/podero-facade/server/telemetry"
	"example.com/podero-facade/server/tracecontext"
)

// maxBody is the size of the largest body that is read, in bytes. No method takes one.
const maxBody = 1 << 20

// Handler serves the REST API. Add services to it before it serves.
type Handler struct {
	mux       *runtime.ServeMux
	conn      *Conn
	query     query
	pages     map[string]Page
	origins   []string               // of pages that may call from a browser
	isForeign func(host string) bool // nil to serve all hosts

	tellsPeers bool
	log        *slog.Logger
	metrics    *telemetry.Metrics
}

// New returns a Handler whose calls pass the interceptor.
func New(interceptor grpc.UnaryServerInterceptor, log *slog.Logger, metrics *telemetry.Metrics) *Handler {
	h := &Handler{conn: NewConn(interceptor), pages: map[string]Page{}, log: log, metrics: metrics}
	noHeader := func(string) (string, bool) { return "", false }
	h.mux = runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, &marshaler{}),
		runtime.WithUnescapingMode(runtime.UnescapingModeAllExceptSlash),
		runtime.WithIncomingHeaderMatcher(noHeader),
		runtime.WithOutgoingHeaderMatcher(outgoingHeader),
		runtime.WithOutgoingTrailerMatcher(noHeader),
		runtime.WithErrorHandler(h.callError),
		runtime.WithRoutingErrorHandler(h.routingError),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
	)
	return h
}

// A Register function routes a service's methods to a connection: what protoc-gen-grpc-gateway generates
// as Register…HandlerClient.
type Register func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error

// AddService serves a service's methods under their google.api.http paths.
func (h *Handler) AddService(desc *grpc.ServiceDesc, service any, register Register) error {
	h.conn.RegisterService(desc, service)
	if err := h.query.addService(desc); err != nil {
		return fmt.Errorf("find the schema of %s: %w", desc.ServiceName, err)
	}
	if err := register(context.Background(), h.mux, h.conn); err != nil {
		return fmt.Errorf("route %s: %w", desc.ServiceName, err)
	}
	return nil
}

// RefuseHosts refuses requests whose Host header isForeign reports to be another machine's: a browser sends them to
// this one after DNS rebinding.
func (h *Handler) RefuseHosts(isForeign func(host string) bool) { h.isForeign = isForeign }

// TellPeers gives the RPC the addresses of callers without TLS, too.
func (h *Handler) TellPeers() { h.tellsPeers = true }

// remoteAddr is the address of a REST caller, as net/http has it.
type remoteAddr string

func (remoteAddr) Network() string  { return "tcp" }
func (r remoteAddr) String() string { return string(r) }

// A Page answers GET and HEAD at a path beside the API. An error that it returns is the answer instead.
type Page func(w http.ResponseWriter, r *http.Request) error

// AddPage serves a page at a path. The headers of every answer are set when the page is asked for.
func (h *Handler) AddPage(path string, page Page) { h.pages[path] = page }

// Headers of every answer.
var (
	noStore = []string{"no-store"}
	noSniff = []string{"nosniff"}
	noPage  = []string{"default-src 'none'; frame-ancestors 'none'"}
)

// ServeHTTP answers a REST call.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := requestid.Accept(r.Header.Get("X-Request-Id")) // which Get need not bring into this form
	header := w.Header()
	header["X-Request-Id"] = []string{id}
	header["Cache-Control"] = noStore
	header["X-Content-Type-Options"] = noSniff
	header["Content-Security-Policy"] = noPage
	ctx := tracecontext.FromHTTP(requestid.With(r.Context(), id), r.Header)
	// As with a call over gRPC. It can't be forged, as no metadata becomes a peer.
	if r.TLS != nil {
		ctx = peer.NewContext(ctx, &peer.Peer{Addr: remoteAddr(r.RemoteAddr), AuthInfo: credentials.TLSInfo{State: *r.TLS}})
	} else if h.tellsPeers {
		ctx = peer.NewContext(ctx, &peer.Peer{Addr: remoteAddr(r.RemoteAddr)})
	}

	defer h.recover(ctx, w)
	if h.isForeign != nil && h.isForeign(r.Host) {
		h.answer(ctx, w, fault.New(fault.CallerForbidden, errors.New("the Host header names another machine, as after DNS rebinding")))
		return
	}
	if len(h.origins) > 0 && h.cors(w, r) {
		return
	}
	if r.ContentLength != 0 {
		// No method takes a body, and where it ends is a matter of opinion if its headers contradict one
		// another (RFC 9112, section 11.2): what follows on the connection is not taken for a request.
		header["Connection"] = []string{"close"}
	}
	if page, ok := h.pages[r.URL.Path]; ok {
		h.servePage(ctx, w, r, page)
		return
	}
	query, bad := h.query.read(r.URL.RawQuery)
	var passed http.Header // what grpc-gateway reads
	if timeout := r.Header[timeoutHeader]; len(timeout) == 1 && isTimeout(timeout[0]) {
		passed = http.Header{timeoutHeader: timeout}
	} else if len(timeout) > 0 {
		bad = append(bad, fault.Violation{Field: timeoutHeader, Message: "must be a number of up to 8 digits, not 0, and a unit, one of H, M, S, m, u, n, once"})
	}
	if values := r.Header["Authorization"]; len(values) > 0 {
		ctx = withAuthorization(ctx, values)
	}
	if problem := discardBody(r); problem != "" {
		bad = append(bad, fault.Violation{Field: "body", Message: problem})
	}
	if len(bad) > 0 {
		ctx = lookup.WithViolations(ctx, bad)
	}
	// grpc-gateway gets no other headers, and the query as it is read here. It would make metadata of the headers,
	// and leave out what it can't carry: a value of Authorization with other bytes than ASCII has to be refused.
	request := r.WithContext(ctx)
	request.Header, request.Host, request.RemoteAddr = passed, "", ""
	request.Form, request.PostForm, request.Body = query, query, http.NoBody
	if r.Method == http.MethodHead {
		request.Method = http.MethodGet // net/http leaves out the body by the method that it received
	}
	h.mux.ServeHTTP(w, request)
}

// discardBody reads the body of a request to its end, and returns what is wrong with it, or "". Before that,
// net/http does not watch the connection, and the request's context would not end when the caller leaves.
// The server's ReadTimeout bounds the time.
func discardBody(r *http.Request) string {
	if r.Body == nil || r.Body == http.NoBody || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return "" // other methods call no RPC
	}
	size, err := io.Copy(io.Discard, io.LimitReader(r.Body, maxBody+1))
	timed, ok := errors.AsType[net.Error](err)
	switch {
	case ok && timed.Timeout():
		return "must arrive in time; send none"
	case r.Context().Err() != nil:
		return "" // the caller left, which the call finds out by itself
	case err != nil:
		return "must be well formed; send none"
	case size > maxBody:
		return "must not have more than 1 MiB; send none"
	default:
		return ""
	}
}

func (h *Handler) servePage(ctx context.Context, w http.ResponseWriter, r *http.Request, page Page) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.routingError(ctx, nil, nil, w, r, http.StatusMethodNotAllowed)
		return
	}
	if err := page(w, r); err != nil {
		h.answer(ctx, w, fault.From(err))
	}
}

// outgoingHeader returns the header of REST that a key of the RPC's metadata becomes.
func outgoingHeader(key string) (string, bool) {
	switch key {
	case cache.StateHeader:
		return "X-Cache", true
	case cache.AgeHeader:
		return "Age", true
	default:
		return "", false
	}
}

// callError answers a call that the RPC, or grpc-gateway before it, ended with an error.
func (h *Handler) callError(
	ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error,
) {
	st := status.Convert(err)
	if sent, ok := runtime.ServerMetadataFromContext(ctx); ok {
		for key, values := range sent.HeaderMD {
			if name, ok := outgoingHeader(key); ok {
				w.Header()[name] = values
			}
		}
	}
	for _, detail := range st.Details() {
		if _, ok := detail.(*errdetails.ErrorInfo); ok {
			writeProblem(w, st)
			return
		}
	}
	// The RPC's errors have details, so this one is grpc-gateway's own, and all that it reads has been checked by now.
	h.refuse(ctx, w, fault.New(fault.Internal, fmt.Errorf("grpc-gateway fails with %s", st.Code())))
}

// routingError answers a call that no route takes.
func (h *Handler) routingError(
	ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, httpStatus int,
) {
	kind := fault.NoSuchRoute
	if httpStatus == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", "GET, HEAD") // every route's methods
		kind = fault.MethodNotAllowed
	}
	h.answer(ctx, w, fault.New(kind, nil))
}

// refuse answers and counts a lookup that did not get as far as the RPC.
func (h *Handler) refuse(ctx context.Context, w http.ResponseWriter, err error) {
	failure := fault.From(err)
	h.metrics.CountLookup(failure.Kind.Reason())
	h.answer(ctx, w, failure)
}

// answer answers a call that did not get as far as the RPC.
func (h *Handler) answer(ctx context.Context, w http.ResponseWriter, failure *fault.Error) {
	id := requestid.From(ctx)
	h.log.InfoContext(ctx, "REST call refused", "request_id", id, "reason", failure.Kind.Reason(), "error", failure.Error())
	writeProblem(w, failure.Status(id))
}

// recover ends a call in which the gateway itself panicked. The handlers of RPCs have a recovery of their own.
func (h *Handler) recover(ctx context.Context, w http.ResponseWriter) {
	if value := recover(); value != nil {
		recovery.Write(ctx, h.log, value)
		h.refuse(ctx, w, fault.New(fault.Internal, nil))
	}
}
