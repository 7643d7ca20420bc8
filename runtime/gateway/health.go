package gateway

import (
	"encoding/json"
	"net/http"
)

// healthz answers 200 as long as the process can answer at all.
func (g *Gateway) healthz(w http.ResponseWriter, _ *http.Request) {
	writeHealth(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readyz answers 200 once every part has taken its first desired state over and while the
// disk takes what must be on it, else 503 and what is not so.
func (g *Gateway) readyz(w http.ResponseWriter, r *http.Request) {
	parts := map[string]string{}
	waiting := func(part string, synced <-chan struct{}) {
		parts[part] = "ready"
		select {
		case <-synced:
		default:
			parts[part] = "waits for its first desired state"
		}
	}
	if g.mapper != nil {
		waiting("mapper", g.mapper.Synced())
	}
	if g.broker != nil {
		waiting("broker", g.broker.Synced())
		if g.broker.Stats().StorageError != "" {
			parts["broker"] = "acknowledges nothing that must be on disk: the disk is full or fails, the log says why"
		}
	}
	if g.control != nil {
		parts["control"] = "ready"
		if err := g.control.Ready(r.Context()); err != nil {
			parts["control"] = "the store does not answer"
		}
	}
	status := http.StatusOK
	for _, state := range parts {
		if state != "ready" {
			status = http.StatusServiceUnavailable
		}
	}
	writeHealth(w, status, parts)
}

func writeHealth(w http.ResponseWriter, status int, body map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller has gone; nobody is left to tell
}
