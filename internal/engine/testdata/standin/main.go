// Command standin stands in for the runtime in the engine's tests: it answers the health
// check, looks whether it was given what it needs and nothing more, and ends when it is told
// to. Its behaviour is set when it is linked.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// mode is well, sick (never healthy), crash, or spoil: its mapper is sick, and all have written
// over what others left.
var mode = "well"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "health" {
		if _, err := os.Stat("/data/sick"); mode == "sick" || mode == "spoil" && err == nil {
			fmt.Println("sick")
			os.Exit(1)
		}
		return
	}
	if mode == "well" { // the others leave the data of whom they replace alone
		if err := inspect(os.Args[1:]); err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
	}
	if mode == "spoil" {
		spoil(os.Args[1:])
	}
	for n := range 30 {
		fmt.Printf("line %d of a %s one\n", n+1, mode)
	}
	if mode == "crash" {
		os.Exit(7)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, os.Interrupt)
	<-end
	if slow, err := time.ParseDuration(os.Getenv("STANDIN_SLOW")); err == nil {
		fmt.Println("it was told to end")
		time.Sleep(slow)
	}
}

func spoil(args []string) {
	err := os.WriteFile("/data/queue", []byte("spoiled"), 0o600)
	if slices.Contains(args, "--parts=mapper") {
		err = errors.Join(err, os.WriteFile("/data/sick", nil, 0o600))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}

// inspect makes sure that the secrets that the arguments name can be read, and that only the
// data and the temporary directory can be written.
func inspect(args []string) error {
	if os.Getuid() != 10001 {
		return fmt.Errorf("runs as user %d", os.Getuid())
	}
	if err := takeAdmin(args); err != nil {
		return err
	}
	for _, arg := range args {
		name, path, _ := strings.Cut(arg, "=")
		if !strings.HasPrefix(path, "/run/millwright/secrets/") {
			continue
		}
		if _, err := os.ReadDir(path); err == nil {
			continue
		}
		if text, err := os.ReadFile(path); err != nil || len(text) < 5 {
			return fmt.Errorf("%s: %d bytes, %w", name, len(text), errors.Join(err, errors.New("no secret")))
		}
	}
	if err := errors.Join(os.MkdirAll("/data/pki", 0o700), os.WriteFile("/data/admin-token", []byte("a token\n"), 0o600),
		os.WriteFile("/data/pki/ca.crt", []byte("a certificate\n"), 0o600)); err != nil {
		return err
	}
	for _, dir := range []string{"/data", "/tmp"} {
		if err := os.WriteFile(dir+"/mine", []byte("x"), 0o600); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/", "/etc", "/run/millwright/secrets"} {
		if err := os.WriteFile(dir+"/mine", []byte("x"), 0o600); err == nil {
			return fmt.Errorf("%s can be written", dir)
		}
	}
	return nil
}

// takeAdmin says of a given admin's password, once for each label, that it is in force.
func takeAdmin(args []string) error {
	for _, arg := range args {
		path, is := strings.CutPrefix(arg, "--admin-password-file=")
		if !is {
			continue
		}
		label, err := os.ReadFile(path + ".label")
		if seen, _ := os.ReadFile("/data/seen"); err != nil || string(seen) == string(label) {
			return nil
		}
		_ = os.Remove("/data/admin-password.applied") // it may not be there
		return errors.Join(os.WriteFile("/data/seen", label, 0o600), os.WriteFile("/data/admin-password.applied", append(label, '\n'), 0o600))
	}
	return nil
}
