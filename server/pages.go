package server

import (
	"net/http"
	"strconv"
	"sync"

	"example.com/podero-facade/gen"
	"example.com/podero-facade/server/docs"
	"example.com/podero-facade/server/gateway"
	"example.com/podero-facade/server/openapi"
)

// addPages adds what describes REST to callers.
func addPages(rest *gateway.Handler, config *Config) error {
	rest.AddPage("/openapi.json", openAPIPage(config))
	if !config.Docs {
		return nil
	}
	pages, err := docs.Pages()
	if err != nil {
		return err
	}
	for path, page := range pages {
		rest.AddPage(path, page)
	}
	return nil
}

// openAPIPage serves the OpenAPI document of the service as configured. It is made when it is first asked for: most
// processes are never.
func openAPIPage(config *Config) gateway.Page {
	options := openapi.Options{
		ServerURL:   ".", // whatever path the document itself is found under
		JWT:         config.needs(CallerJWT),
		MTLS:        config.needs(CallerMTLS),
		Passthrough: config.UpstreamAuth == AuthPassthrough,
	}
	document := sync.OnceValues(func() ([]byte, error) {
		files, err := gen.Files()
		if err != nil {
			return nil, err
		}
		return openapi.New(files, options)
	})
	return func(w http.ResponseWriter, _ *http.Request) error {
		body, err := document()
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
		return nil
	}
}
