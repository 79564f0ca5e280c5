import { writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';
import { build } from 'esbuild';

const bundle = await build({ entryPoints: ['app.ts'], bundle: true, format: 'esm', target: 'es2022', write: false });
const { component } = await componentize(bundle.outputFiles[0].text, { witPath: 'wit', worldName: 'app' });
await writeFile('{{name}}.wasm', component);
