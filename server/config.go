package server

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.com/podero-facade/server/internal/filewatch"
	"example.com/podero-facade/server/secret"
	"example.com/podero-facade/server/token"
)

// EnvPrefix begins the name of every environment variable of the service's.
const EnvPrefix = "PODERO_FACADE"

// SecretVariable is the environment variable that may hold the client secret instead of a file. There is
// no flag for it: other users of a machine can read a program's arguments.
const SecretVariable = EnvPrefix + "_CLIENT_SECRET"

// The values of Upstream.Auth.
const (
	AuthClientCredentials = "client-credentials"
	AuthPassthrough       = "passthrough"
)

// Config is every knob of the service (contract.md, section 5): flag, environment variable, default and
// help, in the tags that package kong reads. Check holds the rules.
type Config struct {
	Listen   `embed:""`
	TLS      `embed:""`
	Callers  `embed:""`
	Upstream `embed:""`
	Cache    `embed:""`
	Shutdown `embed:""`
	Logging  `embed:""`

	Docs     bool `default:"true" help:"Serve a page at /docs to read and try REST in a browser."`
	Insecure bool `help:"Listen for lookups beyond loopback without caller authentication, and allow http:// and redis:// URLs beyond loopback."`
}

// Listen says where the service listens.
type Listen struct {
	GRPCListen  string `name:"grpc-listen" placeholder:"ADDRESS" default:"127.0.0.1:9090" help:"Address for gRPC: the lookup, health and reflection."`
	HTTPListen  string `name:"http-listen" placeholder:"ADDRESS" default:"127.0.0.1:8080" help:"Address for REST, /openapi.json and /docs."`
	AdminListen string `placeholder:"ADDRESS" default:"127.0.0.1:8081" help:"Address for /livez, /readyz and /metrics, and for /debug/pprof/ while it is loopback."`

	MaxConnectionsPerPeer int `placeholder:"NUMBER" default:"0" help:"Connections that one peer address may have to the gRPC port, and as many to the REST port; 0 is half of all. Raise it if all callers come through few load balancers."`
}

// TLS says who the service is to callers over gRPC and REST.
type TLS struct {
	TLSCertFile     string `name:"tls-cert-file" placeholder:"FILE" help:"PEM file with the certificate of the gRPC and REST ports, and its chain. Read again when it changes."`
	TLSKeyFile      string `name:"tls-key-file" placeholder:"FILE" help:"PEM file with the certificate's key. Read again when it changes."`
	TLSMinVersion   string `name:"tls-min-version" placeholder:"VERSION" default:"1.3" help:"Lowest TLS version to speak: 1.3 or 1.2."`
	TLSClientCAFile string `name:"tls-client-ca-file" placeholder:"FILE" help:"PEM file with the CAs that callers' certificates must verify against, if they give one. Read again when it changes."`
}

// Callers says who may look up whom.
type Callers struct {
	CallerAuth        []string `placeholder:"HOW" default:"none" help:"What a lookup needs: mtls, a client certificate; jwt, a bearer token; both, either of them; none."`
	JWTIssuer         string   `name:"jwt-issuer" placeholder:"URL" help:"Issuer (iss) that bearer tokens must have."`
	JWTAudience       string   `name:"jwt-audience" placeholder:"NAME" help:"Audience (aud) that bearer tokens must have."`
	JWTJWKSURL        string   `name:"jwt-jwks-url" placeholder:"URL" help:"Where the issuer's keys are; without it, its discovery document says so."`
	JWTCAFile         string   `name:"jwt-ca-file" placeholder:"FILE" help:"PEM file with CA certificates to trust for the issuer and its key server, beside the system's. Read at the start only."`
	CallerPolicyFile  string   `placeholder:"FILE" help:"YAML file that says which callers may read which organizations. Without it, an authenticated caller may read all. Read again when it changes."`
	AuditLog          string   `placeholder:"FILE" help:"File for a line of JSON about each lookup allowed or denied; - is the standard output."`
	CORSAllowedOrigin []string `name:"cors-allowed-origin" placeholder:"ORIGIN" help:"Origin whose pages may call REST from a browser, such as https://portal.example; repeatable."`
}

// The values of Callers.CallerAuth.
const (
	CallerNone = "none"
	CallerMTLS = "mtls"
	CallerJWT  = "jwt"
)

// Upstream says what Podero is and how to call it.
type Upstream struct {
	UpstreamURL            string        `placeholder:"URL" default:"https://app.podero.com/api/partners/v2.0" help:"Base URL of Podero's Partner API. One slash at its end is ignored."`
	UpstreamAuth           string        `placeholder:"HOW" default:"client-credentials" help:"How to authenticate to Podero: client-credentials, or passthrough, which sends each caller's own bearer token."`
	TokenURL               string        `placeholder:"URL" default:"https://app.podero.com/oauth2/token/" help:"OAuth 2.0 token endpoint, taken verbatim."`
	TokenRequestFormat     token.Format  `placeholder:"FORMAT" default:"auto" help:"Body of the token request: json, form, or auto, which tries JSON and, if the endpoint can't read that, form."`
	ClientID               string        `placeholder:"ID" help:"OAuth 2.0 client ID."`
	ClientSecretFile       string        `placeholder:"FILE" help:"File with the OAuth 2.0 client secret, read again when it changes. Instead of it, the variable PODERO_FACADE_CLIENT_SECRET may hold the secret."`
	Scope                  []string      `placeholder:"SCOPE" help:"OAuth 2.0 scope to ask for; repeatable."`
	UpstreamTimeout        time.Duration `default:"10s" help:"Time for a whole lookup, access token included; a caller's shorter deadline wins."`
	UpstreamAttemptTimeout time.Duration `default:"3s" help:"Time for one attempt at Podero: dialling, TLS handshake and response."`
	UpstreamMaxAttempts    int           `default:"3" help:"Attempts for a lookup, the first included, where trying again may help."`
	UpstreamMaxConcurrency int           `default:"0" help:"Lookups that ask Podero at the same time; 0 adapts to what it bears."`
	UpstreamCAFile         string        `name:"upstream-ca-file" placeholder:"FILE" help:"PEM file with CA certificates to trust for upstream, token endpoint and Redis, beside the system's. Read at the start only."`

	// ClientSecret is the value of SecretVariable: see ReadCredentials.
	ClientSecret secret.Text `kong:"-"`
}

// Cache says how long an answer may be reused.
type Cache struct {
	CacheTTL          time.Duration `name:"cache-ttl" default:"0s" help:"How long an answer may be reused; 0 for never. That there is no such user is kept for 5s at most."`
	CacheStaleIfError time.Duration `default:"0s" help:"How much longer an answer may be reused when Podero is unavailable or too slow."`
	CacheRedisURL     secret.Text   `name:"cache-redis-url" placeholder:"URL" help:"Redis in which replicas share answers, encrypted: redis://, or rediss:// for TLS; ?addr= for other nodes of a cluster. The service works without it, too. A URL with a password is better given as the variable."`
}

// Shutdown says how the service stops.
type Shutdown struct {
	ShutdownDrainDelay time.Duration `default:"2s" help:"How long to go on serving as not ready before the listeners close, so that load balancers see it."`
	ShutdownTimeout    time.Duration `default:"20s" help:"How long calls under way may take to end before they are cut off."`
}

// Logging says what the service writes.
type Logging struct {
	LogLevel  slog.Level `placeholder:"LEVEL" default:"info" help:"Lowest level to log: debug, info, warn or error."`
	LogFormat string     `placeholder:"FORMAT" default:"json" help:"Form of the log: json or text."`
}

// Variable returns the environment variable of a flag.
func Variable(flag string) string {
	return EnvPrefix + "_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// baseURL returns UpstreamURL without the slash that it may end with.
func (u *Upstream) baseURL() string { return strings.TrimSuffix(u.UpstreamURL, "/") }

// ReadCredentials sets the client secret from its variable, and trims it and the client ID: editors, shells and Kubernetes
// Secrets add line ends that nobody sees.
func (u *Upstream) ReadCredentials(getenv func(string) string) {
	u.ClientSecret = secret.New(strings.TrimSpace(getenv(SecretVariable)))
	u.ClientID = strings.TrimSpace(u.ClientID)
}

// secret returns the client secret, read from its file if it has one.
func (u *Upstream) secret() (secret.Text, error) {
	if u.ClientSecretFile == "" {
		return u.ClientSecret, nil
	}
	return filewatch.Parse(parseSecret, u.ClientSecretFile)
}

// roots returns the CAs to trust: the system's and those of UpstreamCAFile. nil stands for the system's.
func (u *Upstream) roots() (*x509.CertPool, error) { return rootsWith(u.UpstreamCAFile) }

// rootsWith returns the system's CAs and those of a file. nil stands for the system's alone.
func rootsWith(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in it", file)
	}
	return pool, nil
}
