/** A thread that is attached to a machine, and reads a byte of an address space when it is asked. */
import { parentPort, workerData } from 'node:worker_threads';
import { attach } from 'mmdump';

const machine = attach(workerData.machine);
parentPort.on('message', ({ space, address }) => {
  const byte = new Uint8Array(1);
  const [mm] = machine.addressSpaces().slice(space, space + 1);
  mm.read(address, byte);
  parentPort.postMessage(byte[0]);
});
parentPort.postMessage('attached');
