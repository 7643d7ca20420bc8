package web_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
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

// answer is what a request got.
type answer struct {
	*http.Response
	text string
}

// send sends a request without following redirects; change may alter it.
func (p *plant) send(method, target string, form url.Values, change ...func(*http.Request)) answer {
	p.Helper()
	body := strings.NewReader(form.Encode())
	r, err := http.NewRequestWithContext(p.Context(), method, target, body)
	if err != nil {
		p.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, f := range change {
		f(r)
	}
	client := http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
	got, err := client.Do(r)
	if err != nil {
		p.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		p.Fatal(err)
	}
	return answer{got, string(text)}
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func credentials(username, password string) url.Values {
	return url.Values{"username": {username}, "password": {password}}
}

// logIn returns the session's cookie.
func (p *plant) logIn(username, password string) func(*http.Request) {
	p.Helper()
	got := p.send(http.MethodPost, p.url+"/admin/login", credentials(username, password))
	if got.StatusCode != http.StatusSeeOther || len(got.Cookies()) != 1 {
		p.Fatalf("log-in: %s %v", got.Status, got.Cookies())
	}
	return func(r *http.Request) { r.AddCookie(got.Cookies()[0]) }
}

func (p *plant) page(session func(*http.Request)) string {
	p.Helper()
	return p.send(http.MethodGet, p.url+"/", nil, session).text
}

// eventually waits until the page says so.
func (p *plant) eventually(session func(*http.Request), want string) string {
	p.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(patience)
	for {
		page := p.page(session)
		if strings.Contains(page, want) {
			return page
		}
		select {
		case <-ticker.C:
		case <-deadline:
			p.Fatalf("waited in vain for %s in %s", want, page)
		}
	}
}

const (
	isLogin = `name="password"`
	isPage  = `id="content"`
)

func TestLogIn(t *testing.T) {
	t.Parallel()
	p := startPlant(t, withTLS(t))
	secure := p.gateway.Listeners()[0].URL
	for _, path := range []string{"/", "/admin/", "/?service=press"} {
		if got := p.send(http.MethodGet, p.url+path, nil); got.StatusCode != http.StatusOK || !strings.Contains(got.text, isLogin) || strings.Contains(got.text, isPage) {
			t.Errorf("%s: %s %s", path, got.Status, got.text)
		}
	}
	for base, prefix := range map[string]string{p.url: "millwright-", secure: "__Host-millwright-"} {
		got := p.send(http.MethodPost, base+"/admin/login", credentials("admin", adminPassword))
		if got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != "/" || len(got.Cookies()) != 1 {
			t.Fatalf("%s: %s %v", base, got.Status, got.Header)
		}
		c := got.Cookies()[0]
		if !strings.HasPrefix(c.Name, prefix) || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" ||
			c.Secure != (base == secure) || c.MaxAge <= 0 || c.MaxAge > 12*3600 {
			t.Errorf("%s: %v", base, c)
		}
		if page := p.send(http.MethodGet, base+"/admin/", nil, func(r *http.Request) { r.AddCookie(c) }); !strings.Contains(page.text, isPage) {
			t.Errorf("%s: %s", base, page.text)
		}
	}
	const typed = "adm<i>n"
	for _, form := range []url.Values{credentials(typed, adminPassword), credentials("admin", typed), credentials("", ""), {}} {
		got := p.send(http.MethodPost, p.url+"/admin/login", form)
		if got.StatusCode != http.StatusUnauthorized || len(got.Cookies()) != 0 || strings.Contains(got.text, "adm") && strings.Contains(got.text, "n&gt;") || strings.Contains(got.text, typed) {
			t.Errorf("%v: %s %v %s", form, got.Status, got.Cookies(), got.text)
		}
	}
	long := credentials("admin", strings.Repeat("x", 20_000))
	if got := p.send(http.MethodPost, p.url+"/admin/login", long); got.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a long form: %s", got.Status)
	}
	if got := p.send(http.MethodPost, p.url+"/admin/login?username=admin&password="+url.QueryEscape(adminPassword), url.Values{}); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a password in the address: %s", got.Status)
	}
	for request, want := range map[string]int{
		"GET /admin/login": http.StatusSeeOther, "GET /admin/logout": http.StatusSeeOther, "GET /admin/none": http.StatusNotFound,
		"POST /admin/": http.StatusMethodNotAllowed, "POST /": http.StatusMethodNotAllowed, "DELETE /admin/logout": http.StatusMethodNotAllowed,
	} {
		method, path, _ := strings.Cut(request, " ")
		if got := p.send(method, p.url+path, nil); got.StatusCode != want {
			t.Errorf("%s: %s", request, got.Status)
		}
	}
	if strings.Contains(p.log.String(), adminPassword) {
		t.Error("the log holds a password")
	}
}

// TestGuessing: wrong passwords are limited together with those at the API.
func TestGuessing(t *testing.T) {
	t.Parallel()
	p := startPlant(t)
	limited := false
	for range 11 {
		got := p.send(http.MethodPost, p.url+"/admin/login", credentials("guest", "wrong"))
		limited = got.StatusCode == http.StatusServiceUnavailable && strings.Contains(got.text, "Try again a little later")
	}
	if !limited {
		t.Error("nobody limits guesses")
	}
	if got := p.send(http.MethodPost, p.url+"/api/v1/login", nil, header("Content-Type", "application/json"), func(r *http.Request) {
		r.Body = io.NopCloser(strings.NewReader(`{"username":"guest","password":"other"}`))
		r.ContentLength = -1
	}); got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the API lets guess on: %s %s", got.Status, got.text)
	}
	p.logIn("admin", adminPassword)
}

func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	p := startPlant(t)
	session := p.logIn("admin", adminPassword)
	foreign := []func(*http.Request){header("Origin", "https://elsewhere.example"), header("Sec-Fetch-Site", "cross-site")}
	for _, f := range foreign {
		for _, path := range []string{"/admin/logout", "/admin/login"} {
			got := p.send(http.MethodPost, p.url+path, credentials("admin", adminPassword), session, f)
			if got.StatusCode != http.StatusForbidden || len(got.Cookies()) != 0 {
				t.Errorf("another site's form at %s: %s", path, got.Status)
			}
		}
	}
	if page := p.page(session); !strings.Contains(page, isPage) {
		t.Fatalf("another site ended the session: %s", page)
	}
	out := p.send(http.MethodPost, p.url+"/admin/logout", url.Values{}, session, header("Origin", p.url))
	if out.StatusCode != http.StatusSeeOther || out.Header.Get("Location") != "/" || len(out.Cookies()) != 1 || out.Cookies()[0].MaxAge >= 0 {
		t.Errorf("log-out: %s %v", out.Status, out.Header)
	}
	after := p.send(http.MethodGet, p.url+"/", nil, session)
	if !strings.Contains(after.text, "Your session has ended") || len(after.Cookies()) != 1 || after.Cookies()[0].Value != "" {
		t.Errorf("after the log-out: %v %s", after.Cookies(), after.text)
	}
	linked := p.send(http.MethodGet, p.url+"/", nil, header("Sec-Fetch-Site", "cross-site"))
	if !strings.Contains(linked.text, `http-equiv="refresh" content="0"`) || len(linked.Cookies()) != 1 {
		t.Errorf("a link from elsewhere: %v %s", linked.Cookies(), linked.text)
	}
	twice := p.send(http.MethodGet, p.url+"/", nil, header("Sec-Fetch-Site", "cross-site"), func(r *http.Request) { r.AddCookie(linked.Cookies()[0]) })
	if !strings.Contains(twice.text, isLogin) {
		t.Errorf("a browser is sent in a circle: %s", twice.text)
	}
	if again := p.send(http.MethodPost, p.url+"/admin/logout", url.Values{}, session); again.StatusCode != http.StatusSeeOther {
		t.Errorf("a second log-out: %s", again.Status)
	}
	first := p.logIn("admin", adminPassword)
	p.send(http.MethodPost, p.url+"/admin/login", credentials("admin", adminPassword), first)
	if page := p.page(first); !strings.Contains(page, isLogin) {
		t.Error("a session that was replaced goes on")
	}
	p.apply(plan.Request{Users: []spec.User{{Username: "line1", Password: ptr("a long password")}}})
	gone := p.logIn("line1", "a long password")
	p.apply(plan.Request{Users: []spec.User{{Username: "line1", State: spec.Absent}}})
	if page := p.page(gone); !strings.Contains(page, isLogin) {
		t.Error("a deleted user's session goes on")
	}
}

func ptr[T any](v T) *T { return &v }

func TestWhatABrowserMayDo(t *testing.T) {
	t.Parallel()
	p := startPlant(t)
	session := p.logIn("admin", adminPassword)
	for path, caching := range map[string]string{
		"/": "no-store", "/admin/": "no-store", "/admin/none": "no-store", "/?service=none": "no-store",
		"/admin/page.css": "no-cache", "/admin/page.js": "no-cache", "/admin/icon.svg": "no-cache",
	} {
		got := p.send(http.MethodGet, p.url+path, nil, session)
		policy := got.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if got.Header.Get("Cache-Control") != caching || got.Header.Get("X-Content-Type-Options") != "nosniff" || got.Header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: %v", path, got.Header)
		}
		if tag := got.Header.Get("ETag"); tag != "" {
			if again := p.send(http.MethodGet, p.url+path, nil, header("If-None-Match", tag)); again.StatusCode != http.StatusNotModified || again.text != "" {
				t.Errorf("%s again: %s", path, again.Status)
			}
		}
		for _, inline := range []string{"<style", " style=", " onclick", "javascript:", "//"} {
			if strings.Contains(got.Header.Get("Content-Type"), "html") && strings.Contains(got.text, inline) {
				t.Errorf("%s holds %s", path, inline)
			}
		}
	}
}

// TestNothingIsReflected: what is asked comes back nowhere, nor does the name that the
// instance was called by.
func TestNothingIsReflected(t *testing.T) {
	t.Parallel()
	p := startPlant(t)
	session := p.logIn("admin", adminPassword)
	const bait = "ba<i>t"
	for _, path := range []string{"/?service=" + url.QueryEscape(bait), "/?page=" + url.QueryEscape(bait), "/?" + url.QueryEscape(bait) + "=1", "/admin/" + url.PathEscape(bait), "/admin/?page=-3"} {
		got := p.send(http.MethodGet, p.url+path, nil, session, header("Referer", bait), header("User-Agent", bait))
		if strings.Contains(got.text, bait) || strings.Contains(got.text, "ba&lt;i") {
			t.Errorf("%s: %s", path, got.text)
		}
	}
	called := func(r *http.Request) { r.Host = "elsewhere.example" }
	for _, got := range []answer{
		p.send(http.MethodGet, p.url+"/", nil, called),
		p.send(http.MethodGet, p.url+"/admin", nil, called),
		p.send(http.MethodPost, p.url+"/admin/login", credentials("admin", adminPassword), called),
		p.send(http.MethodPost, p.url+"/admin/logout", url.Values{}, called),
	} {
		var headers strings.Builder
		if err := got.Header.Write(&headers); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(got.text+headers.String(), "elsewhere") {
			t.Errorf("%s: %s%s", got.Status, headers.String(), got.text)
		}
	}
	if got := p.send(http.MethodPost, p.url+"/admin/login", credentials("admin", adminPassword), func(r *http.Request) { r.Host = "h:8 0;x" }); got.StatusCode == http.StatusSeeOther && !strings.HasPrefix(got.Cookies()[0].Name, "millwright") {
		t.Errorf("a host that is none: %v", got.Cookies())
	}
}

// TestNobodySeesMore: services are seen by permission on the API, values by permission on topics.
func TestNobodySeesMore(t *testing.T) {
	t.Parallel()
	p := startPlant(t)
	p.installPump()
	p.installBroken()
	admin := p.logIn("admin", adminPassword)
	p.eventually(admin, "connection/line")
	publish(t, p, "services/zebra/speed", `<img src=x onerror="alert(1)">`)
	page := p.eventually(admin, `&lt;img src=x onerror=`)
	if strings.Contains(page, "<img") || strings.Contains(page, brokenSecret) || strings.Contains(page, p.token) {
		t.Errorf("the page shows what it must not: %s", page)
	}
	if strings.Index(page, ">zebra ") > strings.Index(page, ">pump ") {
		t.Error("what deviates does not come first")
	}
	get := func(resource string) spec.Permission {
		return spec.Permission{Resource: resource, Operation: spec.Read, Context: spec.HTTP}
	}
	p.apply(plan.Request{Users: []spec.User{
		{Username: "nobody", Password: ptr("a long password")},
		{Username: "names", Password: ptr("a long password"), Permissions: []spec.Permission{get("/api/v1/services/pump")}},
		{Username: "ticks", Password: ptr("a long password"), Permissions: []spec.Permission{
			get("/api/v1/services/pump/#"), {Resource: "services/pump/ticks", Operation: spec.Read, Context: spec.MQTT},
		}},
	}})
	for user, want := range map[string]struct{ shows, hides []string }{
		"nobody": {[]string{"0 services that you may see", "An administrator can let you see"}, []string{"pump", "zebra", "Nothing is installed"}},
		"names":  {[]string{`id="service-pump"`, "You may not see its resources", "1 service that you may see"}, []string{"zebra", "ticks"}},
		"ticks":  {[]string{`id="service-pump"`, "pump::ticks", "not yours to read"}, []string{"zebra"}},
	} {
		session := p.logIn(user, "a long password")
		page := p.page(session)
		for _, text := range want.shows {
			if !strings.Contains(page, text) {
				t.Errorf("%s does not see %q: %s", user, text, page)
			}
		}
		for _, text := range want.hides {
			if strings.Contains(page, text) {
				t.Errorf("%s sees %q: %s", user, text, page)
			}
		}
		if got := p.send(http.MethodGet, p.url+"/?service=zebra", nil, session); got.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", user, got.Status)
		}
	}
	ticks := p.logIn("ticks", "a long password")
	page = p.page(ticks)
	if n := strings.Count(page, "not yours to read"); n != 2 {
		t.Errorf("%d of 3 endpoints are hidden: %s", n, page)
	}
	if row := between(page, `data-key="pump::ticks"`, "</tr>"); !strings.Contains(row, `<time datetime=`) {
		t.Errorf("the value that may be read: %s", row)
	}
}

func between(text, begin, end string) string {
	_, text, _ = strings.Cut(text, begin)
	text, _, _ = strings.Cut(text, end)
	return text
}

// publish sends one message as admin.
func publish(t *testing.T, p *plant, topic, payload string) {
	t.Helper()
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + p.gateway.MQTTAddress()).
		SetClientID("test").SetUsername("admin").SetPassword(adminPassword).SetProtocolVersion(4))
	defer client.Disconnect(100)
	if token := client.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	if token := client.Publish(topic, 1, false, payload); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
}
