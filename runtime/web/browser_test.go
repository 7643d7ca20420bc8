package web_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/millwright/millwright/internal/testneed"
)

// browser is a chromium that remembers what went wrong in its pages.
type browser struct {
	*testing.T
	ctx context.Context

	mu       sync.Mutex
	troubles []string
}

// startBrowser starts Debian's chromium; it finds the host name plant.test on loopback.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(testneed.Program(t, "chromium")),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("host-resolver-rules", "MAP plant.test 127.0.0.1"),
		chromedp.Flag("ignore-certificate-errors", true), // the test's certificate has no CA
		chromedp.WindowSize(1200, 900),
	)
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	b := &browser{T: t, ctx: ctx}
	entries, exceptions := chromedp.Events(ctx, log.EntryAdded), chromedp.Events(ctx, runtime.ExceptionThrown)
	var listening sync.WaitGroup
	listening.Go(func() {
		for e, err := range entries {
			if err == nil && e.Entry.Source != log.EntrySourceNetwork { // a refused log-in is one of the network
				b.note(e.Entry.Text)
			}
		}
	})
	listening.Go(func() {
		for e, err := range exceptions {
			if err == nil {
				b.note((&chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails}).Error())
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		listening.Wait()
	})
	command(b, log.Enable, cdp.Empty{})
	return b
}

func (b *browser) note(trouble string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.troubles = append(b.troubles, trouble)
}

// wellBehaved fails the test if a page's policy was broken or a script failed.
func (b *browser) wellBehaved() {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.troubles) > 0 {
		b.Errorf("the browser complains of %q", b.troubles)
	}
}

func (b *browser) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.wellBehaved()
		b.Fatalf("%s: %v", what, err)
	}
}

// read runs an action that has a result.
func read[T any](b *browser, action chromedp.Action[T]) T {
	b.Helper()
	got, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.wellBehaved()
		b.Fatal(err)
	}
	return got
}

// command sends a command of the browser's protocol.
func command[P, R any](b *browser, c cdp.Command[P, R], params P) R {
	b.Helper()
	return read(b, func(ctx context.Context, t *chromedp.Target) (R, error) { return cdp.Call(ctx, t, c, params) })
}

// until waits for a JavaScript condition, also while pages change.
func (b *browser) until(condition string) {
	b.Helper()
	for {
		_, err := chromedp.Run(b.ctx, chromedp.Poll[bool](condition))
		if err == nil {
			return
		}
		if b.ctx.Err() != nil || errors.Is(err, chromedp.ErrPollingTimeout) {
			b.wellBehaved()
			b.Fatalf("%s: %v; the page: %s", condition, err, read(b, chromedp.Text(chromedp.CSS("body"))))
		}
	}
}

func (b *browser) text(selector string) string {
	b.Helper()
	return read(b, chromedp.Text(chromedp.CSS(selector)))
}

func (b *browser) logIn(url, username, password string) {
	b.Helper()
	b.do("log in",
		chromedp.Navigate(url),
		chromedp.WaitVisible(chromedp.CSS("#password")),
		chromedp.SendKeys(chromedp.CSS("#username"), username),
		chromedp.SendKeys(chromedp.CSS("#password"), password),
		chromedp.Click(chromedp.CSS("main button")),
	)
}

// offline takes the browser's network away, or gives it back.
func (b *browser) offline(away bool) {
	b.Helper()
	command(b, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
		MatchedNetworkConditions: []*network.Conditions{{Offline: away, DownloadThroughput: -1, UploadThroughput: -1}},
	})
}

// picture keeps what the browser shows, with go test -artifacts.
func (b *browser) picture(name string) {
	b.Helper()
	png := read(b, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(b.ArtifactDir(), name+".png"), png, 0o600); err != nil {
		b.Fatal(err)
	}
}

// TestForeignBrowser walks through the page as a person does.
func TestForeignBrowser(t *testing.T) {
	t.Parallel()
	p := startPlant(t)
	p.installPump()
	p.installBroken()
	b := startBrowser(t)

	b.logIn(p.url, "admin", "wrong")
	b.until(`document.querySelector("[role=alert]")?.innerText === "Wrong user name or password."`)
	b.picture("login")
	b.logIn(p.url, "admin", adminPassword)

	const ticks = `document.querySelector("tr[data-key='pump::ticks'] .value")?.innerText`
	b.until(`/^\d+$/.test(` + ticks + `)`)
	first := b.text("tr[data-key='pump::ticks'] .value")
	b.until(ticks + " !== " + "'" + first + "'") // the page moves by itself
	if got := b.text("tr[data-key='pump::ticks'] .age"); got != "now" && !strings.HasSuffix(got, " s") {
		t.Errorf("age %q", got)
	}
	b.until(`document.querySelector("tr[data-key='pump::unit'] .value")?.innerText === "1"`)
	b.until(`document.querySelector("section")?.dataset.key === "zebra"`) // what deviates comes first
	if got := b.text("section[data-key=zebra] .deviations"); !strings.Contains(got, "connection/line is ") || !strings.Contains(got, "refused") {
		t.Errorf("deviations: %q", got)
	}
	if html := read(b, chromedp.OuterHTML(chromedp.CSS("html"))); strings.Contains(html, brokenSecret) {
		t.Error("the page shows a secret")
	}
	b.picture("page")
	b.do("use a phone", chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
	command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
	})
	if read(b, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > innerWidth`)) {
		t.Error("a phone has to scroll sideways")
	}
	b.picture("phone")
	b.offline(true)
	b.until(`!document.getElementById("stale").hidden && document.getElementById("stale").innerText.includes("does not answer")`)
	b.offline(false)
	b.until(`document.getElementById("stale").hidden`)

	b.do("log out", chromedp.Click(chromedp.CSS("header button")), chromedp.WaitVisible(chromedp.CSS("#password")))
	b.do("go back", chromedp.NavigateBack(), chromedp.WaitVisible(chromedp.CSS("#password")))
	b.wellBehaved()
}

// TestForeignBrowserLink follows another site's link to the page, logged in.
func TestForeignBrowserLink(t *testing.T) {
	t.Parallel()
	p := startPlant(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `<title>elsewhere</title><a href="%s/?page=1">the plant</a>`, p.url)
	}))
	defer elsewhere.Close()
	b := startBrowser(t)
	b.logIn(p.url, "admin", adminPassword)
	b.do("see the page", chromedp.WaitVisible(chromedp.CSS("header button")))
	_, port, _ := net.SplitHostPort(elsewhere.Listener.Addr().String())
	b.do("follow the link", chromedp.Navigate("http://plant.test:"+port), chromedp.Click(chromedp.CSS("a")))
	b.until(`location.search === "?page=1" && document.getElementById("content") !== null`)
	b.wellBehaved()
}

// TestForeignBrowserByName logs in where the browser does not trust the connection, and so
// tells less of where a form comes from; and over TLS. The cookies are as they should be.
func TestForeignBrowserByName(t *testing.T) {
	t.Parallel()
	p := startPlant(t, withTLS(t))
	b := startBrowser(t)
	_, plain, _ := net.SplitHostPort(strings.TrimPrefix(p.url, "http://"))
	secure := p.gateway.Listeners()[0].URL
	_, tls, _ := net.SplitHostPort(strings.TrimPrefix(secure, "https://"))
	for url, want := range map[string]string{
		"http://plant.test:" + plain:           "millwright-" + plain,
		"https://plant.test:" + tls + "/admin": "__Host-millwright-" + tls,
	} {
		b.logIn(url, "admin", adminPassword)
		b.do("see the page", chromedp.WaitVisible(chromedp.CSS("header button")))
		cookies := command(b, network.GetCookies, network.GetCookiesParams{}).Cookies
		i := slices.IndexFunc(cookies, func(c *network.Cookie) bool { return c.Name == want })
		if i < 0 {
			t.Fatalf("%s: no cookie %q among %v", url, want, cookies)
		}
		c := cookies[i]
		if !c.HTTPOnly || c.SameSite != network.CookieSameSiteStrict || c.Secure != strings.HasPrefix(url, "https") || c.Domain != "plant.test" || c.Path != "/" {
			t.Errorf("%s: %+v", url, c)
		}
	}
	b.wellBehaved()
}
