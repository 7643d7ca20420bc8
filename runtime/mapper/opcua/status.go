package opcua

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gopcua/opcua/ua"
)

// statusError is an operation's bad status. Its text is the status's name alone, for it is
// published in place of a value.
type statusError ua.StatusCode

func (e statusError) Error() string { return statusName(ua.StatusCode(e)) }

// statusName is a status as the standard writes it: BadNodeIdUnknown.
func statusName(s ua.StatusCode) string {
	known, ok := ua.StatusCodes[s&0xffff0000] // the low half says how, not what
	if !ok {
		return fmt.Sprintf("0x%08X", uint32(s))
	}
	name := strings.TrimPrefix(known.Name, "Status")
	return strings.NewReplacer("ID", "Id", "TCP", "Tcp", "URL", "Url", "URI", "Uri", "XML", "Xml").Replace(name)
}

// isBad tells bad from good and uncertain.
func isBad(s ua.StatusCode) bool { return s&0x80000000 != 0 }

// named turns the library's statuses into their names and keeps other errors.
func named(err error) error {
	if _, is := err.(*transportError); is { //nolint:errorlint // only the outermost speaks for itself
		return err
	}
	if status, ok := statusOf(err); ok {
		return statusError(status)
	}
	return err
}

func statusOf(err error) (ua.StatusCode, bool) {
	var status ua.StatusCode
	if errors.As(err, &status) {
		return status, true
	}
	var named statusError
	if errors.As(err, &named) {
		return ua.StatusCode(named), true
	}
	return 0, false
}

// tooMuch tells whether a smaller request may work.
func tooMuch(err error) bool {
	status, ok := statusOf(err)
	if !ok {
		return errors.Is(err, errDecode)
	}
	switch status {
	case ua.StatusBadTooManyOperations, ua.StatusBadEncodingLimitsExceeded, ua.StatusBadRequestTooLarge,
		ua.StatusBadResponseTooLarge, ua.StatusBadTCPMessageTooLarge, ua.StatusBadOutOfMemory,
		ua.StatusBadDecodingError, ua.StatusBadEncodingError:
		return true
	}
	return false
}

// endsSession tells whether the server no longer knows the session or its channel.
func endsSession(err error) bool {
	status, ok := statusOf(err)
	if !ok {
		return false
	}
	switch status {
	case ua.StatusBadSessionIDInvalid, ua.StatusBadSessionClosed, ua.StatusBadSessionNotActivated,
		ua.StatusBadSecureChannelIDInvalid, ua.StatusBadSecureChannelClosed, ua.StatusBadSecureChannelTokenUnknown,
		ua.StatusBadTCPSecureChannelUnknown, ua.StatusBadServerHalted, ua.StatusBadShutdown,
		ua.StatusBadConnectionClosed, ua.StatusBadNotConnected:
		return true
	}
	return false
}
