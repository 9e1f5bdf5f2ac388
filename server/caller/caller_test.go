package caller_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"math/big"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"example.com/podero-facade/server/caller"
)

// authority is a CA. Its certificates' keys are all the same, which no test minds.
type authority struct {
	certificate *x509.Certificate
	key         testKey
}

var trusted = sync.OnceValue(func() authority { return newAuthority("trusted") })

func newAuthority(name string) authority {
	a := authority{key: keys().ec256}
	a.certificate = a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// issue returns a certificate as a template says.
func (a authority) issue(template *x509.Certificate) *x509.Certificate {
	template.SerialNumber = big.NewInt(1)
	template.NotBefore, template.NotAfter = time.Unix(0, 0), time.Unix(1<<33, 0)
	parent := a.certificate
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, a.key.private.Public(), a.key.private)
	if err != nil {
		panic(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return certificate
}

// client returns a client certificate with SANs.
func (a authority) client(uris, hosts []string) *x509.Certificate {
	template := &x509.Certificate{
		Subject:        pkix.Name{CommonName: "common-name.example"},
		DNSNames:       hosts,
		EmailAddresses: []string{"mail@example.com"},
		ExtKeyUsage:    []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, uri := range uris {
		template.URIs = append(template.URIs, &url.URL{Opaque: uri}) // which String returns as it is
	}
	return a.issue(template)
}

// selfSigned returns a certificate by its own key, as a member of x5c.
func selfSigned(t *testing.T, k testKey) string {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.private.Public(), k.private)
	return base64.StdEncoding.EncodeToString(must(t, der, err))
}

// connected returns the context of a call on a TLS connection whose client has a certificate, or none, as
// the server saw it after the handshake.
func connected(t *testing.T, client *x509.Certificate, policy tls.ClientAuthType) context.Context {
	t.Helper()
	identity := func(c *x509.Certificate) tls.Certificate {
		return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: keys().ec256.private}
	}
	// A client of good will sends nothing that the server does not ask for, an attacker anything.
	send := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if client == nil {
			return &tls.Certificate{}, nil
		}
		sent := identity(client)
		return &sent, nil
	}
	roots := x509.NewCertPool()
	roots.AddCert(trusted().certificate)
	near, far := net.Pipe()
	server := tls.Server(near, &tls.Config{
		Certificates: []tls.Certificate{identity(trusted().client(nil, []string{"server"}))},
		ClientAuth:   policy,
		ClientCAs:    roots,
	})
	var shaking sync.WaitGroup
	shaking.Go(func() {
		_ = tls.Client(far, &tls.Config{GetClientCertificate: send, InsecureSkipVerify: true}).Handshake()
		_, _ = far.Read(make([]byte, 1<<10)) // the server's tickets
	})
	err := server.Handshake()
	_, _ = near.Close(), far.Close()
	shaking.Wait()
	if err != nil {
		t.Fatal(err)
	}
	info := credentials.TLSInfo{State: server.ConnectionState()}
	return peer.NewContext(t.Context(), &peer.Peer{AuthInfo: info})
}

// certificates returns a verifier that trusts the tests' CA.
func certificates() *caller.CertificateVerifier {
	roots := x509.NewCertPool()
	roots.AddCert(trusted().certificate)
	return caller.NewCertificateVerifier(func() *x509.CertPool { return roots })
}

// TestACertificateIsVerifiedForEachLookup has one connection, whose certificate expires or whose CA is removed.
func TestACertificateIsVerifiedForEachLookup(t *testing.T) {
	with, without := x509.NewCertPool(), x509.NewCertPool()
	with.AddCert(trusted().certificate)
	without.AddCert(newAuthority("another").certificate)
	synctest.Test(t, func(t *testing.T) {
		roots := with
		authenticator := &caller.Authenticator{Certificates: caller.NewCertificateVerifier(func() *x509.CertPool { return roots })}
		client := trusted().client([]string{"spiffe://corp.example/crm"}, nil)
		ctx := connected(t, client, tls.VerifyClientCertIfGiven)
		for range 2 {
			if _, err := authenticator.Authenticate(ctx); err != nil {
				t.Fatal(err)
			}
		}
		roots = without
		_, err := authenticator.Authenticate(ctx)
		refused(t, err, "valid no longer")
		roots = with
		if _, err := authenticator.Authenticate(ctx); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Until(client.NotAfter) + time.Second)
		_, err = authenticator.Authenticate(ctx)
		refused(t, err, "expired")
	})
}

func TestACertificateNamesItsCaller(t *testing.T) {
	const spiffe = "spiffe://corp.example/ns/billing/sa/invoices"
	for name, c := range map[string]struct {
		uris, hosts []string
		want        string
		refusal     string
	}{
		"URI SAN":                {uris: []string{spiffe}, want: spiffe},
		"URI SAN and DNS SAN":    {uris: []string{spiffe}, hosts: []string{"a.example"}, want: spiffe},
		"DNS SAN":                {hosts: []string{"a.example"}, want: "a.example"},
		"several DNS SANs":       {hosts: []string{"b.example", "a.example"}, want: "b.example"},
		"two URI SANs":           {uris: []string{spiffe, "spiffe://corp.example/other"}, refusal: "more than one URI SAN"},
		"no SAN that is a name":  {refusal: "neither a URI SAN nor a DNS SAN"},
		"URI SAN, byte for byte": {uris: []string{"SPIFFE://corp.example/%61dmin#x"}, want: "SPIFFE://corp.example/%61dmin#x"},
		"empty URI SAN":          {uris: []string{""}, refusal: "SAN is not a name"},
		"URI as DNS SAN":         {hosts: []string{spiffe}, refusal: "not a host name"},
		"DNS SAN with a space":   {hosts: []string{"a.example subject:admin"}, refusal: "not a host name"},
		"DNS SAN with spaces":    {hosts: []string{"a b"}, refusal: "SAN is not a name"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := connected(t, trusted().client(c.uris, c.hosts), tls.VerifyClientCertIfGiven)
			got, err := (&caller.Authenticator{Certificates: certificates()}).Authenticate(ctx)
			if c.refusal != "" {
				refused(t, err, c.refusal, spiffe, "example")
			} else if err != nil || got.Certificate != c.want || got.Subject != "" || !strings.HasPrefix(got.Credential, "serial:") {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// otherInfo is what a connection without TLS says of itself.
type otherInfo struct{}

func (otherInfo) AuthType() string { return "insecure" }

func TestWithoutAVerifiedCertificateNobodyCalls(t *testing.T) {
	stranger := newAuthority("stranger").client([]string{"spiffe://corp.example/admin"}, nil)
	for name, c := range map[string]struct {
		ctx  context.Context
		want string
	}{
		"no peer":              {t.Context(), "no credentials"},
		"no TLS":               {peer.NewContext(t.Context(), &peer.Peer{}), "no credentials"},
		"another kind of peer": {peer.NewContext(t.Context(), &peer.Peer{AuthInfo: otherInfo{}}), "no credentials"},
		"no certificate":       {connected(t, nil, tls.VerifyClientCertIfGiven), "no credentials"},
		"of an unknown CA":     {connected(t, stranger, tls.RequireAnyClientCert), "not verified"},
		"name in the metadata": {authorized(t.Context(), "certificate:spiffe://corp.example/admin"), "no credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := (&caller.Authenticator{Certificates: certificates()}).Authenticate(c.ctx)
			refused(t, err, c.want)
		})
	}
}

func TestEitherKindOfCredentialsSufficesAndBadOnesDoNot(t *testing.T) {
	const name = "spiffe://corp.example/crm"
	certified := func(t *testing.T, uris ...string) context.Context {
		return connected(t, trusted().client(uris, nil), tls.VerifyClientCertIfGiven)
	}
	good := func(t *testing.T) context.Context { return certified(t, name) }
	ambiguous := func(t *testing.T) context.Context { return certified(t, name, name+"/2") }
	none := func(t *testing.T) context.Context { return t.Context() }
	unverified := func(t *testing.T) context.Context {
		return connected(t, newAuthority("stranger").client([]string{name}, nil), tls.RequireAnyClientCert)
	}
	token := "Bearer " + claiming(object{"exp": 1 << 40})()
	const mtls, jwt = 1, 2

	for title, c := range map[string]struct {
		kinds         int
		connection    func(*testing.T) context.Context
		authorization []string
		want          caller.Caller
		refusal       string
	}{
		"nothing is configured":        {0, good, []string{token}, caller.Caller{}, "no credentials"},
		"certificate":                  {mtls, good, nil, caller.Caller{Certificate: name}, ""},
		"token for a certificate":      {mtls, none, []string{token}, caller.Caller{}, "no credentials"},
		"nobody judges the token":      {mtls, good, []string{"Basic x", "y"}, caller.Caller{Certificate: name}, ""},
		"token":                        {jwt, none, []string{token}, caller.Caller{Subject: subject}, ""},
		"scheme in another case":       {jwt, none, []string{"bEARER  " + token[7:]}, caller.Caller{Subject: subject}, ""},
		"certificate for a token":      {jwt, good, nil, caller.Caller{}, "no credentials"},
		"nobody judges a certificate":  {jwt, unverified, []string{token}, caller.Caller{Subject: subject}, ""},
		"either: certificate":          {mtls | jwt, good, nil, caller.Caller{Certificate: name}, ""},
		"either: token":                {mtls | jwt, none, []string{token}, caller.Caller{Subject: subject}, ""},
		"either: both":                 {mtls | jwt, good, []string{token}, caller.Caller{Certificate: name, Subject: subject}, ""},
		"either: none":                 {mtls | jwt, none, nil, caller.Caller{}, "no credentials"},
		"good beside a bad token":      {mtls | jwt, good, []string{"Bearer x"}, caller.Caller{}, "not a JWT"},
		"good beside no token":         {mtls | jwt, good, []string{""}, caller.Caller{}, "not a bearer token"},
		"good beside a password":       {mtls | jwt, good, []string{"Basic eDp5"}, caller.Caller{}, "not a bearer token"},
		"good beside two tokens":       {mtls | jwt, good, []string{token, token}, caller.Caller{}, "2 authorization values"},
		"good beside two URI SANs":     {mtls | jwt, ambiguous, []string{token}, caller.Caller{}, "more than one URI SAN"},
		"good beside an unknown CA's":  {mtls | jwt, unverified, []string{token}, caller.Caller{}, "not verified"},
		"two tokens":                   {jwt, none, []string{token, token}, caller.Caller{}, "2 authorization values"},
		"two tokens in one value":      {jwt, none, []string{token + ", " + token}, caller.Caller{}, "not a bearer token"},
		"two tokens without a space":   {jwt, none, []string{token + "," + token[7:]}, caller.Caller{}, "not a bearer token"},
		"token without a scheme":       {jwt, none, []string{token[7:]}, caller.Caller{}, "not a bearer token"},
		"scheme without a token":       {jwt, none, []string{"Bearer"}, caller.Caller{}, "not a bearer token"},
		"scheme and a space":           {jwt, none, []string{"Bearer "}, caller.Caller{}, "not a bearer token"},
		"token with a line break":      {jwt, none, []string{token[:50] + "\n" + token[50:]}, caller.Caller{}, "not a bearer token"},
		"token with a space at an end": {jwt, none, []string{token + " "}, caller.Caller{}, "not a bearer token"},
	} {
		t.Run(title, func(t *testing.T) {
			ctx := c.connection(t)
			synctest.Test(t, func(t *testing.T) {
				authenticator := &caller.Authenticator{}
				if c.kinds&mtls != 0 {
					authenticator.Certificates = certificates()
				}
				if c.kinds&jwt != 0 {
					authenticator.Tokens = run(t, tokenConfig(newSite(allKeys())))
				}
				if c.authorization != nil {
					ctx = authorized(ctx, c.authorization...)
				}
				got, err := authenticator.Authenticate(context.WithoutCancel(ctx)) // ctx is from outside of the bubble
				if got.String() != c.want.String() {
					t.Errorf("got %+v, want %+v", got, c.want)
				}
				if c.refusal != "" {
					refused(t, err, c.refusal, token[7:], name, "eDp5")
				} else if err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestACallerPrintsAsItsNames(t *testing.T) {
	for want, c := range map[string]caller.Caller{
		"":                       {},
		"certificate:spiffe://a": {Certificate: "spiffe://a"},
		"subject:crm-sync":       {Subject: "crm-sync"},
		"certificate:spiffe://a subject:crm-sync": {Certificate: "spiffe://a", Subject: "crm-sync"},
	} {
		if got := c.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestATimeoutIsNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(allKeys())
		s.delay = 500 * time.Millisecond
		authenticator := &caller.Authenticator{Tokens: run(t, tokenConfig(s))}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := authenticator.Authenticate(authorized(ctx, "Bearer "+goodToken()))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
