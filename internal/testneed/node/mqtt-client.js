// An MQTT client made with mqtt.js, over any transport that it knows. It subscribes to a
// topic, publishes numbered messages to it, and prints what comes back, a line each.
//
//   node mqtt-client.js --url wss://127.0.0.1:443/mqtt [--ca FILE] --user U --password P \
//     --version 3|4|5 --qos 0|1|2 --topic T --count N [--bytes N]
'use strict'

const fs = require('node:fs')
const { parseArgs } = require('node:util')
const mqtt = require('mqtt')

const text = { type: 'string' }
const { values: o } = parseArgs({
  options: {
    url: text, ca: text, user: text, password: text, version: text, qos: text, topic: text, count: text,
    bytes: { type: 'string', default: '0' }
  }
})
const version = Number(o.version)
const qos = Number(o.qos)
const count = Number(o.count)
const window = 50 // mqtt.js does not mind the broker's Receive Maximum

const client = mqtt.connect(o.url, {
  protocolVersion: version,
  protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
  clientId: 'mqttjs' + process.pid,
  username: o.user,
  password: o.password,
  ca: o.ca && fs.readFileSync(o.ca),
  reconnectPeriod: 0
})

let received = 0
let allReceived
const complete = new Promise(resolve => { allReceived = resolve })
client.on('message', (_topic, payload) => {
  process.stdout.write(payload.toString().trimEnd() + '\n')
  if (++received === count) allReceived()
})
client.on('connect', async () => {
  await client.subscribeAsync(o.topic, { qos })
  for (let i = 0; i < count; i += window) {
    const some = Array.from({ length: Math.min(window, count - i) }, (_, k) => 'message ' + (i + k))
    await Promise.all(some.map(m => client.publishAsync(o.topic, m.padEnd(Number(o.bytes)), { qos })))
  }
  await complete
  await client.endAsync()
})
client.on('error', err => {
  console.error(err.message)
  process.exit(1)
})
client.on('close', () => {
  if (received < count) {
    console.error('the connection was closed after ' + received + ' messages')
    process.exit(1)
  }
})
