// Members that mmdump uses internally are not public: each of these lines must fail to compile.
import { createDumper, createMachine, fileSink } from 'mmdump';

const machine = createMachine({ memory: 1 });
// @ts-expect-error internal
machine.parts;
// @ts-expect-error internal
machine.createAddressSpace().reference;
// @ts-expect-error internal
machine.createAddressSpace().mm;
// @ts-expect-error internal
fileSink('a').firstPath;
// @ts-expect-error internal
createDumper({ rendezvous: true });
// @ts-expect-error internal
machine.handle.control;
