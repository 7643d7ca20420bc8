// An OPC UA server that this project did not write, for the tests: user name and password,
// every data type, a writable variable, a method, events, low limits.
//
//   node opcua-server.js --pki DIR [--port N] [--trust CERT.pem] [--limit N]
//
// Prints "ready PORT" once it serves and ends on SIGTERM. Only the user "operator" with the
// password "s3cret-pass" may log in. Security: None for discovery, Basic256Sha256,
// Aes128_Sha256_RsaOaep and Aes256_Sha256_RsaPss with Sign and SignAndEncrypt.
"use strict";

const fs = require("fs");
const {
  DataType,
  MessageSecurityMode,
  OPCUACertificateManager,
  OPCUAServer,
  SecurityPolicy,
  StatusCodes,
  Variant,
  VariantArrayType,
  coerceNodeId,
} = require("node-opcua");

function parse(argv) {
  const options = { port: "0", limit: "10" };
  for (let i = 0; i < argv.length; i += 2) {
    options[argv[i].replace(/^--/, "")] = argv[i + 1];
  }
  if (!options.pki) {
    throw new Error("--pki is missing");
  }
  return options;
}

function der(file) {
  const text = fs.readFileSync(file, "utf8");
  return Buffer.from(text.replace(/-----[^-]+-----/g, "").replace(/\s/g, ""), "base64");
}

// int64 is the library's form of a 64-bit integer: the high and the low half.
function int64(n) {
  const u = BigInt.asUintN(64, n);
  return [Number(u >> 32n), Number(u & 0xffffffffn)];
}

const scalar = (dataType, value) => ({ dataType, arrayType: VariantArrayType.Scalar, value });

function constants() {
  const T = DataType;
  return {
    Boolean: [T.Boolean, true],
    SByte: [T.SByte, -128],
    Byte: [T.Byte, 255],
    Int16: [T.Int16, -32768],
    UInt16: [T.UInt16, 65535],
    Int32: [T.Int32, -2147483648],
    UInt32: [T.UInt32, 4294967295],
    Int64: [T.Int64, int64(-9007199254740993n)],
    UInt64: [T.UInt64, int64(18446744073709551615n)],
    Float: [T.Float, 0.1],
    Double: [T.Double, 1e-7],
    String: [T.String, "Füllstand"],
    DateTime: [T.DateTime, new Date("2026-11-22T20:00:00.250Z")],
    Guid: [T.Guid, "72962b91-fa75-4ae6-8d28-b404dc7daf63"],
    ByteString: [T.ByteString, Buffer.from([1, 2, 255])],
    NodeId: [T.NodeId, coerceNodeId("ns=1;s=Line")],
    LocalizedText: [T.LocalizedText, { text: "closed", locale: "en" }],
    QualifiedName: [T.QualifiedName, { name: "Press", namespaceIndex: 1 }],
    StatusCode: [T.StatusCode, StatusCodes.BadNotConnected],
  };
}

function addVariable(ns, parent, name, dataType, value, more) {
  return ns.addVariable({
    componentOf: parent,
    browseName: name,
    nodeId: "s=Line." + name,
    dataType,
    value,
    ...more,
  });
}

function addConstants(ns, line) {
  for (const [name, [dataType, value]] of Object.entries(constants())) {
    addVariable(ns, line, name, dataType, scalar(dataType, value), { accessLevel: "CurrentRead" });
  }
  addVariable(ns, line, "Doubles", DataType.Double, {
    dataType: DataType.Double,
    arrayType: VariantArrayType.Array,
    value: new Float64Array([1.5, -2, 3]),
  }, { valueRank: 1 });
  addVariable(ns, line, "Matrix", DataType.Int32, {
    dataType: DataType.Int32,
    arrayType: VariantArrayType.Matrix,
    dimensions: [2, 3],
    value: new Int32Array([1, 2, 3, 4, 5, 6]),
  }, { valueRank: 2, arrayDimensions: [2, 3] });
  const bad = addVariable(ns, line, "Bad", DataType.Double, { dataType: DataType.Double, value: 1 });
  bad.setValueFromSource({ dataType: DataType.Double, value: 1 }, StatusCodes.BadSensorFailure);
}

function addMoving(ns, line) {
  const counter = addVariable(ns, line, "Counter", DataType.Int32, { dataType: DataType.Int32, value: 0 });
  let count = 0;
  const clock = setInterval(() => {
    counter.setValueFromSource({ dataType: DataType.Int32, value: ++count });
  }, 100);
  for (const [name, dataType, value] of [
    ["Setpoint", DataType.Double, 1],
    ["Preset", DataType.Int64, int64(0n)],
    ["Recipe", DataType.String, "none"],
    ["Small", DataType.Byte, 0],
  ]) {
    addVariable(ns, line, name, dataType, scalar(dataType, value), { accessLevel: "CurrentRead | CurrentWrite" });
  }
  addVariable(ns, line, "Limits", DataType.Int32, {
    dataType: DataType.Int32,
    arrayType: VariantArrayType.Array,
    value: new Int32Array([0, 0]),
  }, { valueRank: 1, accessLevel: "CurrentRead | CurrentWrite" });
  const many = ns.addObject({ componentOf: line, browseName: "Many", nodeId: "s=Line.Many" });
  for (let i = 0; i < 35; i++) {
    addVariable(ns, many, "Many." + i, DataType.Int32, { dataType: DataType.Int32, value: i });
  }
  return clock;
}

function addMethod(ns, line) {
  const argument = (name, dataType) => ({ name, dataType, description: name });
  const method = ns.addMethod(line, {
    browseName: "Add",
    nodeId: "s=Line.Add",
    inputArguments: [argument("a", DataType.Int32), argument("b", DataType.Int32)],
    outputArguments: [argument("sum", DataType.Int32)],
  });
  method.bindMethod((inputs, context, callback) => {
    const sum = inputs[0].value + inputs[1].value;
    callback(null, {
      statusCode: StatusCodes.Good,
      outputArguments: [new Variant({ dataType: DataType.Int32, value: sum })],
    });
  });
}

// addEvents raises two types of events on the Server object, ten times a second: one with a field of
// its own, and one that the first's filter must keep back.
function addEvents(ns, server) {
  const batch = ns.addEventType({ browseName: "BatchEventType", subtypeOf: "BaseEventType", isAbstract: false, nodeId: "i=5001" });
  ns.addVariable({ propertyOf: batch, browseName: "Batch", dataType: DataType.Int64, modellingRule: "Mandatory" });
  let count = 0;
  return setInterval(() => {
    count++;
    server.raiseEvent(batch, {
      message: { dataType: DataType.LocalizedText, value: { text: "batch " + count + " is done", locale: "en" } },
      severity: { dataType: DataType.UInt16, value: 300 },
      batch: scalar(DataType.Int64, int64(BigInt(count))),
    });
    server.raiseEvent("SystemEventType", {
      message: { dataType: DataType.LocalizedText, value: { text: "tick", locale: "en" } },
      severity: { dataType: DataType.UInt16, value: 900 },
    });
  }, 100);
}

async function main() {
  const options = parse(process.argv.slice(2));
  const limit = Number(options.limit);
  const certificates = new OPCUACertificateManager({
    rootFolder: options.pki,
    automaticallyAcceptUnknownCertificate: false,
  });
  await certificates.initialize();
  if (options.trust) {
    await certificates.trustCertificate(der(options.trust));
  }
  const server = new OPCUAServer({
    port: Number(options.port),
    hostname: "127.0.0.1",
    serverCertificateManager: certificates,
    allowAnonymous: false,
    userManager: { isValidUser: (user, password) => user === "operator" && password === "s3cret-pass" },
    securityPolicies: [
      SecurityPolicy.None,
      SecurityPolicy.Basic256Sha256,
      SecurityPolicy.Aes128_Sha256_RsaOaep,
      SecurityPolicy.Aes256_Sha256_RsaPss,
    ],
    securityModes: [MessageSecurityMode.None, MessageSecurityMode.Sign, MessageSecurityMode.SignAndEncrypt],
    buildInfo: { productName: "node-opcua test server", manufacturerName: "node-opcua" },
    serverCapabilities: {
      operationLimits: {
        maxNodesPerRead: limit,
        maxNodesPerWrite: limit,
        maxNodesPerBrowse: limit,
        maxNodesPerTranslateBrowsePathsToNodeIds: limit,
        maxMonitoredItemsPerCall: limit,
      },
    },
  });
  await server.initialize();
  const ns = server.engine.addressSpace.getOwnNamespace();
  const line = ns.addObject({
    organizedBy: server.engine.addressSpace.rootFolder.objects,
    browseName: "Line",
    nodeId: "s=Line",
  });
  addConstants(ns, line);
  const clocks = [addMoving(ns, line), addEvents(ns, server.engine.addressSpace.rootFolder.objects.server)];
  addMethod(ns, line);
  await server.start();
  process.on("SIGTERM", async () => {
    clocks.forEach(clearInterval);
    await server.shutdown(0);
    process.exit(0);
  });
  console.log("ready " + server.endpoints[0].port);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
