// What rooms of mmdump use of each other is not for others: each of these is an error of the compiler.
import { createDumper, createMachine, fileSink } from 'mmdump';

const machine = createMachine({ memory: 1 });
// @ts-expect-error internal
machine.parts;
// @ts-expect-error internal
machine.createAddressSpace().reference;
// @ts-expect-error internal
machine.createAddressSpace().mm;
// @ts-expect-error internal
fileSink('a').reserve;
// @ts-expect-error internal
createDumper({ rendezvous: true });
// @ts-expect-error internal
machine.handle.control;
