package web_test

import (
	"testing"
	"time"

	"github.com/millwright/millwright/internal/testcert"
	"github.com/millwright/millwright/runtime/gateway"
)

func withTLS(t *testing.T) func(*gateway.Options) {
	t.Helper()
	certificate, key := testcert.New(t, time.Now().AddDate(1, 0, 0)).Write(t, t.TempDir())
	return func(o *gateway.Options) {
		o.ListenHTTPS, o.TLSCertificate, o.TLSKey = "127.0.0.1:0", certificate, key
	}
}
