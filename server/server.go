// Package server is podero-facade: a typed gRPC API, and the same API as REST, over Podero's REST API.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"

	"example.com/podero-facade/server/cache"
	"example.com/podero-facade/server/caller"
	"example.com/podero-facade/server/gateway"
	"example.com/podero-facade/server/interceptor"
	"example.com/podero-facade/server/internal/filewatch"
	"example.com/podero-facade/server/internal/recovery"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/resilience"
	"example.com/podero-facade/server/secret"
	"example.com/podero-facade/server/sharedcache"
	"example.com/podero-facade/server/telemetry"
	"example.com/podero-facade/server/token"
)

// Server is the service with its listeners open. Create it with New, then Run it.
type Server struct {
	config      Config
	log         *slog.Logger
	connections connectionLimit
	health      *health.Server
	ready       *readiness
	streams     *streamLimiter
	calls       callTracker
	files       *filewatch.Watcher
	certs       *certReloader // nil without TLS
	grpc        *grpc.Server
	rest        *http.Server
	admin       *http.Server

	cancelREST context.CancelFunc // ends the contexts of all calls over REST

	grpcListener, restListener, adminListener net.Listener

	background []func(context.Context) // what runs beside the listeners, until its context ends
	closers    []func()                // what to do once all calls have ended
}

const (
	// flushTimeout is the time for the export of the last traces and metrics.
	flushTimeout = 5 * time.Second

	// handlerTimeout is the time for handlers to return after their calls were cut off. They do at once,
	// unless there is a bug.
	handlerTimeout = 5 * time.Second
)

// New builds the service and opens its listeners. config must be valid.
func New(config Config, log *slog.Logger) (_ *Server, err error) {
	s := &Server{
		config: config, log: log, connections: newConnectionLimit(maxDescriptors()),
		health: health.NewServer(), ready: &readiness{}, streams: newStreamLimiter(log),
		calls: newCallTracker(), files: filewatch.New(log),
	}
	config.logStart(log)
	s.background = append(s.background, s.files.Run)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	observed, err := telemetry.New(context.Background(), Version(), log)
	if err != nil {
		return nil, err
	}
	metrics := observed.Metrics
	metrics.Counter("podero_facade_panics_total", "Panics that the service recovered from.", recovery.Count)
	s.closers = append(s.closers, func() { s.flush(observed) })
	tlsConfig, err := config.tlsConfig()
	if err != nil {
		return nil, err
	}
	transport, err := newAPITransport(&config.Upstream, tlsConfig, s.connections.upstream)
	if err != nil {
		return nil, err
	}
	watchTransport(metrics, transport)
	finder, err := s.newFinder(observed, transport, newTokenTransport(&config.Upstream, tlsConfig))
	s.closers = append(s.closers, transport.Close) // before the finder's: it ends attempts that have no callers any more
	if err != nil {
		return nil, err
	}
	services := config.services(finder)
	intercept := interceptor.Unary(log, metrics)
	if observed.Tracer != nil {
		intercept = interceptor.Chain(interceptor.Traced(observed.Tracer), intercept)
	}
	if config.hasTLS() {
		if s.certs, err = newCertReloader(&config.TLS, s.files, metrics, log); err != nil {
			return nil, err
		}
	}
	if config.guarded() {
		guard, err := s.newGuard(metrics)
		if err != nil {
			return nil, err
		}
		intercept = interceptor.Chain(intercept, guard.Intercept)
	}
	intercept = interceptor.Chain(s.calls.intercept, intercept)
	rest := gateway.New(intercept, log, metrics)
	rest.AllowOrigins(config.CORSAllowedOrigin)
	if config.AuditLog != "" {
		rest.TellPeers()
	}
	if config.isOpen() && isLoopbackAddress(config.HTTPListen) {
		rest.RefuseHosts(isForeignHost)
	}
	if err := addPages(rest, &config); err != nil {
		return nil, err
	}
	for _, service := range services {
		if err := rest.AddService(service.desc, service.handler, service.route); err != nil {
			return nil, err
		}
	}
	return s, s.listen(intercept, services, rest, metrics)
}

// newFinder assembles the chain of Finders, beginning with the upstream client.
func (s *Server) newFinder(observed *telemetry.Telemetry, api, tokenRequests http.RoundTripper) (podero.Finder, error) {
	config, metrics := &s.config, observed.Metrics
	drift := podero.NewDrift(s.log, metrics.CountDrift)
	client, err := newClient(&config.Upstream, observed.RoundTripper(api, config.apiTarget()), drift, metrics.CountAttempt)
	if err != nil {
		return nil, err
	}
	limiter := resilience.NewLimiter(config.UpstreamMaxConcurrency, s.connections.upstream, client)
	breaker := resilience.NewBreaker(s.log, limiter.SlowStart, limiter)
	var finder podero.Finder = breaker
	watchLoad(metrics, limiter, breaker)
	clientSecret, err := s.clientSecret(metrics)
	if err != nil {
		return nil, err
	}
	if config.UpstreamAuth == AuthClientCredentials {
		endpoint := newEndpoint(&config.Upstream, clientSecret, observed.RoundTripper(tokenRequests, config.tokenTarget()))
		tokens := token.NewKeeper(endpoint, s.log)
		watchTokens(metrics, tokens)
		s.background = append(s.background, tokens.Run)
		finder = podero.NewAuthorizer(tokens, finder)
	}
	finder = resilience.NewRateLimit(finder)
	if config.UpstreamMaxAttempts > 1 {
		finder = resilience.NewRetry(config.UpstreamMaxAttempts, finder)
	}
	singleflight := resilience.NewSingleflight(finder)
	watchSingleflight(metrics, singleflight)
	s.closers = append(s.closers, singleflight.Close)
	finder = resilience.NewTimeout(config.UpstreamTimeout, singleflight)
	if config.CacheTTL == 0 {
		return finder, nil
	}
	source := cache.Fresh(finder)
	if !config.CacheRedisURL.IsZero() {
		shared, err := newSharedCache(config, clientSecret, finder, s.log)
		if err != nil {
			return nil, err
		}
		watchSharedCache(metrics, shared)
		s.background = append(s.background, shared.Run)
		s.closers = append(s.closers, shared.Close)
		source = shared
	}
	reuse, err := cache.New(cache.Config{Next: source, TTL: config.CacheTTL, StaleIfError: config.CacheStaleIfError, Log: s.log})
	if err != nil {
		return nil, err
	}
	watchCache(metrics, reuse)
	s.closers = append(s.closers, reuse.Close)
	return reuse, nil
}

// clientSecret returns a function that returns the client secret, which changes with its file.
func (s *Server) clientSecret(metrics *telemetry.Metrics) (func() secret.Text, error) {
	upstream := &s.config.Upstream
	if upstream.ClientSecretFile == "" {
		return func() secret.Text { return upstream.ClientSecret }, nil
	}
	value, err := watchFile(s.files, metrics, "client-secret-file", parseSecret, upstream.ClientSecretFile)
	if err != nil {
		return nil, err
	}
	return value.Load, nil
}

func newSharedCache(
	config *Config, clientSecret func() secret.Text, next podero.Finder, log *slog.Logger,
) (*sharedcache.Cache, error) {
	return sharedcache.New(sharedcache.Config{
		Next:   next,
		URL:    config.CacheRedisURL,
		Roots:  config.roots,
		TTL:    config.CacheTTL,
		Secret: clientSecret,
		Realm:  config.baseURL() + " " + config.ClientID,
		Log:    log,
	})
}

func (c *Callers) tokenConfig(transport http.RoundTripper, log *slog.Logger) caller.TokenConfig {
	return caller.TokenConfig{
		Issuer:    c.JWTIssuer,
		Audience:  c.JWTAudience,
		JWKSURL:   c.JWTJWKSURL,
		Transport: transport,
		UserAgent: userAgent(),
		Log:       log,
	}
}

// newGuard builds what lets callers in and keeps the record of it.
func (s *Server) newGuard(metrics *telemetry.Metrics) (*caller.Guard, error) {
	config := &s.config.Callers
	var guard caller.GuardConfig
	if !config.needs(CallerNone) {
		guard.Authenticator = &caller.Authenticator{}
	}
	if config.needs(CallerMTLS) {
		guard.Authenticator.Certificates = caller.NewCertificateVerifier(s.certs.callerCAs)
	}
	if config.needs(CallerJWT) {
		transport, err := newKeyTransport(config)
		if err != nil {
			return nil, err
		}
		verifier := caller.NewTokenVerifier(config.tokenConfig(transport, s.log))
		guard.Authenticator.Tokens = verifier
		watchKeys(metrics, verifier)
		s.background = append(s.background, verifier.Run)
	}
	if config.CallerPolicyFile != "" {
		policy, err := watchFile(s.files, metrics, "caller-policy-file", parsePolicy, config.CallerPolicyFile)
		if err != nil {
			return nil, err
		}
		guard.Policy = policy.Load
	}
	if config.AuditLog != "" {
		audit, err := caller.OpenAudit(config.AuditLog, os.Stdout, s.log)
		if err != nil {
			return nil, fmt.Errorf("open --audit-log: %w", err)
		}
		guard.Audit = audit
		metrics.Counter("podero_facade_audit_lines_dropped_total",
			"Audit lines that were lost, because their reader was too slow or they could not be written.", audit.Dropped)
		s.closers = append(s.closers, func() { _ = audit.Close() })
	}
	return caller.NewGuard(guard), nil
}

func newClient(upstream *Upstream, transport http.RoundTripper, drift *podero.Drift, count func(string)) (*podero.Client, error) {
	return podero.NewClient(podero.ClientConfig{
		BaseURL:     upstream.baseURL(),
		Transport:   transport,
		UserAgent:   userAgent(),
		Drift:       drift,
		Count:       count,
		Passthrough: upstream.UpstreamAuth == AuthPassthrough,
	})
}

func newEndpoint(upstream *Upstream, clientSecret func() secret.Text, transport http.RoundTripper) *token.Endpoint {
	return token.NewEndpoint(token.EndpointConfig{
		URL:       upstream.TokenURL,
		ClientID:  upstream.ClientID,
		Secret:    clientSecret,
		Scopes:    upstream.Scope,
		Format:    upstream.TokenRequestFormat,
		Timeout:   upstream.UpstreamAttemptTimeout,
		Transport: transport,
		UserAgent: userAgent(),
	})
}

// Run serves until ctx ends, and then stops without losing a call. It returns nil after a clean stop,
// and an error if a listener failed or if calls had to be cut off.
func (s *Server) Run(ctx context.Context) error {
	failed := make(chan error, 3)
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	var serving sync.WaitGroup
	defer func() {
		s.close()
		stopBackground()
		serving.Wait()
	}()
	for _, run := range s.background {
		serving.Go(func() { s.keepRunning(background, run) })
	}
	serve := func(name string, serve func() error) {
		serving.Go(func() {
			if err := serve(); err != nil && !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve %s: %w", name, err)
			}
		})
	}
	serve("gRPC", func() error { return s.grpc.Serve(s.grpcListener) })
	serve("REST", s.serveREST)
	serve("admin", func() error { return s.admin.Serve(s.adminListener) })
	s.ready.set(true)
	s.log.InfoContext(ctx, "serving", "version", Version(), "grpc", s.GRPCAddr().String(),
		"http", s.HTTPAddr().String(), "admin", s.AdminAddr().String(),
		"upstream", s.config.UpstreamURL, "upstream_auth", s.config.UpstreamAuth)

	var err error
	select {
	case err = <-failed:
		s.log.Error("a listener failed", "error", err)
	case <-ctx.Done():
	}
	return errors.Join(err, s.stop())
}

// keepRunning runs a background task until ctx ends. After a panic it begins again, a moment later.
func (s *Server) keepRunning(ctx context.Context, run func(context.Context)) {
	for ctx.Err() == nil {
		func() {
			defer recovery.Log(ctx, s.log)
			run(ctx)
		}()
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// stop ends the service in the order that loses no call: load balancers learn of it while the
// listeners still accept calls; then gRPC and REST drain at the same time. REST calls run their handlers in
// process and don't need the gRPC server.
func (s *Server) stop() error {
	s.log.Info("draining", "delay", s.config.ShutdownDrainDelay.String())
	s.health.Shutdown()
	s.ready.set(false)
	<-time.After(s.config.ShutdownDrainDelay)

	ctx, cancel := context.WithTimeout(context.Background(), s.config.ShutdownTimeout)
	defer cancel()
	s.streams.stop()
	drained := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(drained)
	}()
	cutOff := s.rest.Shutdown(ctx)
	select {
	case <-drained:
	case <-ctx.Done():
		cutOff = ctx.Err()
	}
	if cutOff != nil {
		cutOff = errors.New("calls in flight were cut off after --shutdown-timeout")
		s.log.Error("stopped", "error", cutOff)
		return cutOff
	}
	s.log.Info("stopped")
	return nil
}

// cutOff ends all connections and calls, and waits for the calls' handlers.
func (s *Server) cutOff() {
	s.grpc.Stop()
	_ = s.rest.Close()
	_ = s.admin.Close()
	s.cancelREST()
	ctx, cancel := context.WithTimeout(context.Background(), handlerTimeout)
	defer cancel()
	if !s.calls.wait(ctx) {
		s.log.Error("calls that were cut off still run")
	}
}

// flush exports the last traces and metrics, if they go anywhere that takes them in time.
func (s *Server) flush(observed *telemetry.Telemetry) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := observed.Shutdown(ctx); err != nil {
		s.log.Warn("the last traces or metrics were not exported", "error", err.Error())
	}
}

// close releases all that New opened. What is closed already stays so.
func (s *Server) close() {
	if s.grpc != nil {
		s.cutOff()
	}
	for _, listener := range []net.Listener{s.grpcListener, s.restListener, s.adminListener} {
		if listener != nil {
			_ = listener.Close()
		}
	}
	for _, closer := range slices.Backward(s.closers) {
		closer()
	}
}
