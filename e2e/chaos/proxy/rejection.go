package proxy

import (
	"fmt"
	"net/http"
	"strings"
)

// appliesTo reports whether a request is rejected. The readiness endpoints keep working.
func (r Rejection) appliesTo(req *http.Request) bool {
	switch r {
	case "":
		return false
	case QuotaConflict, QuotaFull:
		return req.Method == http.MethodPost && strings.Contains(req.URL.Path, "/namespaces/")
	default:
		return strings.Contains(req.URL.Path, "/namespaces/")
	}
}

// writeResponse writes the response.
func (r Rejection) writeResponse(w http.ResponseWriter) {
	switch r {
	case LoginPage:
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, "<html>Who are you?</html>")
	case Forbidden:
		writeStatus(w, http.StatusForbidden, "Forbidden", `it is forbidden: User "somebody" cannot do that: RBAC: role.rbac.authorization.k8s.io "participant" not found`)
	case Unauthorized:
		writeStatus(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
	case QuotaConflict:
		writeStatus(w, http.StatusConflict, "Conflict", `Operation cannot be fulfilled on resourcequotas "q": the object has been modified; please apply your changes to the latest version and try again`)
	case QuotaFull:
		writeStatus(w, http.StatusForbidden, "Forbidden", `it is forbidden: exceeded quota: q, requested: count/claims.konductor.io=1, used: count/claims.konductor.io=1, limited: count/claims.konductor.io=1`)
	}
}

// watchWriter is the writer of a watch's response. Once it was unresponsive it stays so: the client has to notice.
type watchWriter struct {
	http.ResponseWriter
	proxy   *Proxy
	request *http.Request
	silent  bool
}

func (m *watchWriter) Write(b []byte) (int, error) {
	if m.silent = m.silent || m.proxy.currentProfile().Unresponsive; m.silent {
		<-m.request.Context().Done()
		return 0, m.request.Context().Err()
	}
	return m.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController flush.
func (m *watchWriter) Unwrap() http.ResponseWriter { return m.ResponseWriter }
