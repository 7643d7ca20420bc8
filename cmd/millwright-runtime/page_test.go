package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// browser is somebody who has logged in to the page.
type browser struct {
	*testing.T
	http http.Client
	url  string
}

func (p *plant) browse() *browser {
	p.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		p.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.roots, MinVersion: tls.VersionTLS12}}
	p.Cleanup(transport.CloseIdleConnections)
	b := &browser{T: p.T, http: http.Client{Jar: jar, Transport: transport}, url: "https://" + p.https}
	form := url.Values{"username": {"admin"}, "password": {strings.TrimSpace(p.read("admin-password"))}}
	answer, err := b.http.PostForm(b.url+"/admin/login", form)
	if err != nil {
		p.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		p.Fatalf("log-in: %s", answer.Status)
	}
	return b
}

// row is what the page shows of the endpoint that counts reads.
var row = regexp.MustCompile(`(?s)<bdi class="topic">services/press/reads</bdi>.*?class="value"><bdi>(\d+)</bdi>.*?class="age"><time datetime="([^"]+)"`)

// shown is the value on the page and when it was read.
func (b *browser) shown() (value int, at time.Time, err error) {
	answer, err := b.http.Get(b.url + "/?service=press")
	if err != nil {
		return 0, at, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, at, err
	}
	found := row.FindSubmatch(text)
	if found == nil {
		return 0, at, fmt.Errorf("no value in %s", text)
	}
	if value, err = strconv.Atoi(string(found[1])); err != nil {
		return 0, at, err
	}
	at, err = time.Parse(time.RFC3339, string(found[2]))
	return value, at, err
}

// reach waits until the page shows what the device has counted from now on, and when that was.
func (b *browser) reach(value int) {
	b.Helper()
	since := time.Now().Truncate(time.Millisecond)
	until(b.T, fmt.Sprintf("the page shows %d", value), func() error {
		got, at, err := b.shown()
		if err == nil && (got < value || at.Before(since)) {
			err = fmt.Errorf("it shows %d of %s", got, at)
		}
		return err
	})
}

// TestEndToEndPage: the page shows values and their age where broker and mapper run elsewhere, and
// does so again after each of the parts was away.
func TestEndToEndPage(t *testing.T) {
	p := newPlant(t)
	p.install()
	b := p.browse()
	b.reach(p.device.more(5))

	p.broker.kill()
	p.broker.start()
	b.reach(p.device.more(5))

	p.control.kill()
	p.control.start()
	p.control.ready()
	p.browse().reach(p.device.more(5))

	p.mapper.kill() // the last value stays, and gets old
	before, at, err := b.shown()
	if err != nil {
		t.Fatal(err)
	}
	p.mapper.start()
	b.reach(p.device.more(5))
	t.Logf("value %d was of %s", before, at)
}
