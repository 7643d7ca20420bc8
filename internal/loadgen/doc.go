// Package loadgen loads a message broker and says what became of each message. It speaks MQTT
// 3.1.1, MQTT 5 and NATS's core protocol over TCP and TLS with codecs of its own, so that it
// costs a fraction of what the server costs with which it shares a machine.
//
// The first 16 bytes of each payload are the publisher and its sequence number (8 bytes) and
// the time at which the message was meant to be sent (8 bytes, nanoseconds). In an open loop
// that time comes from the schedule and not from the clock: a server that stalls makes all the
// messages late that it held up, and none of them goes missing from the percentiles.
//
// A subscriber notes each message that it gets. After the run, the notes are compared with what
// the publishers sent and what the server acknowledged: missing, twice, out of order.
package loadgen
