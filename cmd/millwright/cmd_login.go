package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/spec"
)

// contextTTL is how long a context's token is valid; use extends it.
const contextTTL = 90 * 24 * time.Hour

type loginOptions struct {
	username     string
	passwordFile string
}

func newLoginCommand(s *streams, global *globalOptions) *cobra.Command {
	opts := &loginOptions{}
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Log in to an instance and keep a token in the context file",
		Long: `Logs in with user name and password, makes a token for this computer, and keeps it in the
context file; the password is not kept. The password comes from --password-file, from
MILLWRIGHT_PASSWORD, from a prompt, or, without a terminal, from the first line of standard
input; never from the command line. --context names the context (default: the host), which
becomes the current one if there is none.`,
		Example: "  millwright login --url https://gateway.example --username line1",
		Args:    exactly(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runLogin(cmd.Context(), opts, global, s) },
	}
	opts.addFlags(cmd)
	return cmd
}

func (o *loginOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.username, "username", "", "user `name`; asked for if not given")
	f.StringVar(&o.passwordFile, "password-file", "", "`file` with the password in its first line")
}

func runLogin(ctx context.Context, opts *loginOptions, global *globalOptions, s *streams) error {
	settings, err := loginSettings(global, s)
	if err != nil {
		return err
	}
	c, err := client.New(settings, version, s.logger(global, levelWarn))
	if err != nil {
		return err
	}
	defer c.Close()
	username, err := opts.askUsername(ctx, s)
	if err != nil {
		return err
	}
	password, err := opts.askPassword(ctx, s)
	if err != nil {
		return err
	}
	reply, err := c.Login(ctx, username, password)
	if err != nil {
		return err
	}
	name := cmp.Or(global.context, s.getenv("MILLWRIGHT_CONTEXT"), contextName(settings.URL))
	session := c.WithToken(reply.Token)
	token, err := session.CreateToken(ctx, spec.TokenRequest{Name: tokenName(), TTL: contextTTL.String()})
	if err = errors.Join(err, session.Logout(ctx)); err != nil {
		return err
	}
	if err := client.SaveContext(name, client.Context{URL: settings.URL, CA: string(settings.CA), Token: token.Token}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "logged in to %s as %q: context %q, valid until %s\n", settings.URL, username, name, moment(token.ExpiresAt))
	return err
}

// loginSettings resolves all but the credentials. A --context that does not exist yet names the new one.
func loginSettings(global *globalOptions, s *streams) (client.Settings, error) {
	given := client.Given{URL: global.url, CAPath: global.caPath, Context: global.context}
	settings, warnings, err := client.Resolve(given, s.getenv)
	if err != nil && global.url != "" {
		given.Context = ""
		settings, warnings, err = client.Resolve(given, withoutContext(s.getenv))
	}
	if err != nil {
		return settings, err
	}
	for _, w := range warnings {
		s.logger(global, levelWarn).Warn(w)
	}
	settings.Token, settings.Username, settings.Password = "", "", ""
	return settings, nil
}

func withoutContext(getenv func(string) string) func(string) string {
	return func(name string) string {
		if name == "MILLWRIGHT_CONTEXT" {
			return ""
		}
		return getenv(name)
	}
}

func (o *loginOptions) askUsername(ctx context.Context, s *streams) (string, error) {
	if o.username != "" {
		return o.username, nil
	}
	if !isTerminal(s.in) {
		return "", spec.Errorf(spec.Invalid, "cannot log in without a user name").WithHint("give it by --username")
	}
	return ask(ctx, s, "User name: ")
}

func (o *loginOptions) askPassword(ctx context.Context, s *streams) (string, error) {
	if o.passwordFile != "" {
		return passwordOf(o.passwordFile)
	}
	if password := s.getenv("MILLWRIGHT_PASSWORD"); password != "" {
		return password, nil
	}
	if file, ok := s.in.(*os.File); ok && isTerminal(file) {
		return askSecret(ctx, s, file, "Password: ")
	}
	return waitFor(ctx, func() (string, error) { return firstLine(s.in) })
}

// passwordOf reads the first line of a file.
func passwordOf(path string) (string, error) {
	text, err := readFile(path)
	if err != nil {
		return "", err
	}
	return firstLine(bytes.NewReader(text))
}

// contextName makes a name from an address: "gateway.example", "127.0.0.1-8080".
func contextName(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return nameable(address)
	}
	return nameable(u.Host)
}

// tokenName tells in `get tokens` which computer a token is for.
func tokenName() string {
	host, err := os.Hostname()
	if err != nil {
		return "login"
	}
	return nameable("login-" + host)
}

// nameable makes text fit to be a name, as spec.CheckName wants it.
func nameable(text string) string {
	text = strings.Map(func(r rune) rune {
		if spec.CheckName("x", "x"+string(r)) != nil {
			return '-'
		}
		return r
	}, text)
	text = strings.Trim(text, "-")
	return text[:min(len(text), 64)]
}
