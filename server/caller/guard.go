package caller

import (
	"context"
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/requestid"
)

// Guard lets only those callers through who may read what they ask for.
type Guard struct {
	config GuardConfig
}

// GuardConfig is what a Guard needs. Each part that is nil is left out, and the ones that are there still
// hold: a policy without an authenticator denies everything.
type GuardConfig struct {
	Authenticator *Authenticator // finds out who calls; nil lets everybody through, as nobody
	Policy        func() *Policy // what callers may read now; nil lets callers read everything
	Audit         *Audit         // takes note of every lookup, allowed or denied
}

// NewGuard returns a Guard.
func NewGuard(config GuardConfig) *Guard { return &Guard{config} }

// Intercept is a grpc.UnaryServerInterceptor. It belongs inside of the one that gives a call its request
// ID and turns its errors into statuses, and that logs them: the cause of a denial says who was denied
// what. Calls of services outside the package podero, such as health, pass untouched. Its own errors are
// *fault.Error: CALLER_UNAUTHENTICATED, CALLER_FORBIDDEN, or what ended ctx.
func (g *Guard) Intercept(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler,
) (response any, err error) {
	if !strings.HasPrefix(info.FullMethod, "/podero.") {
		return handle(ctx, request)
	}
	wish := wishOf(request)
	line := auditLine{
		requestID: requestid.From(ctx),
		method:    info.FullMethod,
		address:   peerAddress(ctx),
		outcome:   fault.Internal.Reason(), // what a panic in the handler will become

		includeDeleted: wish.includeDeleted,
	}
	if podero.IsUUID(wish.organization) { // anything else may be anything, a person's data too
		line.organization = wish.organization
	}
	defer func() { g.config.Audit.write(ctx, line) }()

	caller, err := g.admit(ctx, wish)
	line.caller, line.credential = caller.String(), caller.Credential
	if err == nil {
		response, err = handle(ctx, request)
	}
	line.outcome = outcome(err)
	return response, err
}

// peerAddress returns the IP address of the call's peer, and "" if it is not known. X-Forwarded-For is not trusted.
func peerAddress(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(p.Addr.String())
	if err != nil {
		return ""
	}
	return host
}

// wish is what a request wants to read.
type wish struct {
	bound          bool   // whether it names an organization at all
	organization   string // in lower case
	includeDeleted bool
}

func wishOf(request any) (w wish) {
	if r, ok := request.(interface{ GetOrgId() string }); ok {
		w.bound, w.organization = true, strings.ToLower(r.GetOrgId())
	}
	if r, ok := request.(interface{ GetIncludeDeleted() bool }); ok {
		w.includeDeleted = r.GetIncludeDeleted()
	}
	return w
}

// admit returns the caller, as far as it is known, and an error unless it may go on.
func (g *Guard) admit(ctx context.Context, wish wish) (Caller, error) {
	var caller Caller
	if g.config.Authenticator != nil {
		var err error
		if caller, err = g.config.Authenticator.Authenticate(ctx); err != nil {
			return Caller{}, err
		}
	}
	if g.config.Policy == nil {
		return caller, nil
	}
	// A request that names no organization may reach across all of them, so no policy covers it.
	if wish.bound && g.config.Policy().Allows(caller, wish.organization, wish.includeDeleted) {
		return caller, nil
	}
	return caller, fault.New(fault.CallerForbidden, denial(caller, wish))
}

// denial says to the log who was denied what.
func denial(caller Caller, wish wish) error {
	what := "organization " + wish.organization
	if !podero.IsUUID(wish.organization) {
		what = "an organization without a well-formed ID"
	}
	if wish.includeDeleted {
		what = "deleted users of " + what
	}
	return fmt.Errorf("the policy does not let the caller %q read %s", caller, what)
}

func outcome(err error) string {
	if err == nil {
		return "OK"
	}
	return fault.From(err).Kind.Reason()
}
