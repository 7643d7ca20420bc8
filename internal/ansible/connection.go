package ansible

import (
	"context"
	"log/slog"
	"time"

	"github.com/millwright/millwright/internal/client"
	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

// connectionOptions say which instance is meant, and how to log in there. None of them is
// called username or password: those are only ever a managed user's, so that a default of a
// group for the login never becomes somebody's password.
func connectionOptions() []Option {
	return []Option{
		{Name: "api_url", Type: Str, Aliases: []string{"url"}, Doc: []string{
			"Address of the instance, such as C(https://gateway.example).",
			"Not given, it is C(MILLWRIGHT_URL), else that of the context, else C(https://localhost).",
		}},
		{Name: "api_username", Type: Str, Doc: []string{
			"User to log in as, with I(api_password). A token is faster: each task with a password logs in and out.",
			"Not given, it is C(MILLWRIGHT_USERNAME).",
		}},
		{Name: "api_password", Type: Str, NoLog: true, Doc: []string{"Password to log in with. Not given, it is C(MILLWRIGHT_PASSWORD)."}},
		{Name: "api_token", Type: Str, NoLog: true, Doc: []string{"Token to send. Not given, it is C(MILLWRIGHT_TOKEN), else that of the context."}},
		{Name: "context", Type: Str, Doc: []string{
			"Name of a context in the context file of the user that the task runs as on the target.",
			"Not given, it is C(MILLWRIGHT_CONTEXT), else the only one there is; with several the task fails and lists them.",
		}},
		{Name: "ca_cert", Type: Str, Doc: []string{"Certificate authority of the instance, PEM."}},
		{Name: "ca_path", Type: Path, Doc: []string{
			"File on the target with the certificate authority of the instance, PEM.",
			"Not given, it is C(MILLWRIGHT_CA_PATH), else that of the context, else the system's authorities.",
		}},
		{Name: "validate_certs", Type: Bool, Default: true, Doc: []string{"Whether the instance's certificate is verified. C(false) is for tests only."}},
		{Name: "timeout", Type: Int, Default: int64(30), Doc: []string{"Seconds to wait for each answer."}},
	}
}

// changeOptions are those of every module that changes something.
func changeOptions() []Option {
	return []Option{
		{Name: "adopt", Type: Bool, Default: false, Doc: []string{"Take the object over if a stack owns it. Else a difference is an error."}},
		maxDisturbance(),
	}
}

func maxDisturbance() Option {
	return Option{
		Name: "max_disturbance", Type: Str,
		Choices: []string{"none", "endpoint", "connection", "container", "service", "instance"},
		Doc:     []string{"Fail, before anything is changed, if the change would disturb more than this."},
	}
}

// connect makes the client that arguments, environment and context file name, and logs in
// where only a password is known.
func (t *task) connect(ctx context.Context) error {
	if err := t.checkTimes(); err != nil {
		return err
	}
	settings, warnings, err := client.Resolve(client.Given{
		Context: t.args.text("context"), URL: t.args.text("api_url"), Token: t.args.text("api_token"),
		Username: t.args.text("api_username"), Password: t.args.text("api_password"), CAPath: t.args.text("ca_path"),
		Unattended: true,
	}, t.call.Getenv)
	if err != nil {
		return err
	}
	t.warn(warnings...)
	if pem := t.args.text("ca_cert"); pem != "" {
		settings.CA = []byte(pem)
	}
	settings.SkipVerify = !t.args.flag("validate_certs")
	if t.client, err = client.New(settings, t.call.Version, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	if settings.Token != "" || settings.Username == "" {
		return nil
	}
	session, err := ask(ctx, t, func(ctx context.Context) (spec.LoginReply, error) {
		return t.client.Login(ctx, settings.Username, settings.Password)
	})
	if err != nil {
		return err
	}
	t.client, t.loggedIn = t.client.WithToken(session.Token), true
	return nil
}

// checkTimes refuses times that no instance waits for.
func (t *task) checkTimes() error {
	const longest = time.Hour
	if timeout := t.args.seconds("timeout"); timeout < time.Second || timeout > longest {
		return spec.Errorf(spec.Invalid, "cannot wait %s for an answer: timeout is from 1 to 3600 seconds", timeout)
	}
	if wait := t.args.seconds("wait_timeout"); wait < 0 || wait > longest {
		return spec.Errorf(spec.Invalid, "cannot wait %s: wait_timeout is from 0 to 3600 seconds", wait)
	}
	return nil
}

// disconnect ends the session that a password began; a token that was given stays valid.
func (t *task) disconnect(ctx context.Context) {
	if t.client == nil {
		return
	}
	defer t.client.Close()
	if t.loggedIn {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.args.seconds("timeout"))
		defer cancel()
		if err := t.client.Logout(ctx); err != nil && spec.KindOf(err) != spec.Unauthorised {
			t.warn("cannot log out: " + err.Error())
		}
	}
}

// ask bounds one question to the instance. One that is not there yet holds nothing of what is
// asked for.
func ask[V any](ctx context.Context, t *task, question func(context.Context) (V, error)) (V, error) {
	if t.empty {
		var nothing V
		return nothing, spec.Errorf(spec.NotFound, "an earlier task would make the instance: it holds nothing yet")
	}
	ctx, cancel := context.WithTimeout(ctx, t.args.seconds("timeout"))
	defer cancel()
	return question(ctx)
}

// planned asks what the request would change.
func (t *task) planned(ctx context.Context, r plan.Request) (*plan.Plan, error) {
	if t.empty {
		return planEmpty(r)
	}
	return ask(ctx, t, func(ctx context.Context) (*plan.Plan, error) { return t.client.Plan(ctx, r) })
}
