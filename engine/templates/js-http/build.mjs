import { readFile, writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const source = await readFile('app.js', 'utf8');
const { component } = await componentize(source, { witPath: 'wit', worldName: 'app' });
await writeFile('{{name}}.wasm', component);
