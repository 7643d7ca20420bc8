package gateway

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/internal/testcert"
)

// bound binds what the options ask for, beside a plain API and broker on loopback.
func bound(t *testing.T, change func(*Options)) (*listeners, error) {
	t.Helper()
	opts := Options{ListenHTTP: "127.0.0.1:0", ListenMQTT: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}
	change(&opts)
	l := &listeners{}
	err := l.bind(&opts)
	t.Cleanup(func() {
		if err := l.close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return l, err
}

func TestListenIsClosedToTheNetworkUnlessAsked(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0"} {
		for flag, change := range map[string]func(*Options){
			"--listen-http": func(o *Options) { o.ListenHTTP = addr },
			"--listen-mqtt": func(o *Options) { o.ListenMQTT = addr },
			"--listen-ws":   func(o *Options) { o.ListenWS = addr },
		} {
			if _, err := bound(t, change); spec.KindOf(err) != spec.Invalid || !strings.Contains(err.Error(), flag) {
				t.Errorf("%s %s: %v", flag, addr, err)
			}
		}
	}
	for addr, insecure := range map[string]bool{"127.0.0.1:0": false, "localhost:0": false, "0.0.0.0:0": true} {
		l, err := bound(t, func(o *Options) { o.ListenWS, o.ListenMQTT, o.InsecureListen = addr, addr, insecure })
		if err != nil || l.ws == nil || l.wss != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestListenTLS(t *testing.T) {
	cert, key := testcert.New(t, inAYear()).Write(t, t.TempDir())
	l, err := bound(t, func(o *Options) {
		o.ListenHTTPS, o.ListenMQTTS, o.ListenWSS = ":0", ":0", ":0" // the network is open to TLS
		o.TLSCertificate, o.TLSKey = cert, key
	})
	if err != nil || l.https == nil || l.mqtts == nil || l.wss == nil || l.ws != nil {
		t.Errorf("%+v: %v", l, err)
	}
	for want, change := range map[string]func(*Options){
		"its key is missing":         func(o *Options) { o.ListenWSS, o.TLSCertificate = "127.0.0.1:0", cert },
		"its certificate is missing": func(o *Options) { o.ListenWSS, o.TLSKey = "127.0.0.1:0", key },
		"no listener speaks TLS":     func(o *Options) { o.TLSCertificate, o.TLSKey = cert, key },
	} {
		_, err := bound(t, change)
		var e *spec.Error
		if !errors.As(err, &e) || e.Kind != spec.Invalid || !strings.Contains(err.Error(), want) || e.Hint == "" {
			t.Errorf("want %s, got %v", want, err)
		}
	}
	_, err = bound(t, func(o *Options) { o.ListenWS = l.mqtt.Addr().String() })
	if spec.KindOf(err) != spec.Conflict {
		t.Errorf("a port in use: %v", err)
	}
}
