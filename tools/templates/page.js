// What the build asks of ComfyUI's front end, in the page where it runs: it makes the nodes, writes them, measures them.
const OWN = 'edit-friendly-ddpm', HOST = 'comfy-core' // what ComfyUI-Manager calls the packs

globalThis.templates = {
    // Makes a graph; gives it as the front end saves it and as `/prompt` takes it. A node is {id, type, title, width,
    // room, collapsed, colors, models, text, inputs}; an input is a value, or {node, output} where it has a wire, or
    // {entry, value} where it is one of the node that is to stand for the graph.
    async make(nodes) {
        const {graph} = app
        app.clean()
        for (const {id, type, title, width, room, collapsed, colors, models, text, inputs} of nodes) {
            const node = LiteGraph.createNode(type)
            if (!node) throw Error(`${title}: the host has no node ${type}`)
            const {nodeData} = node.constructor, own = nodeData?.python_module.startsWith('custom_nodes.')
            const properties = nodeData ? {'Node name for S&R': type, cnr_id: own ? OWN : HOST} : {}
            if (models.length) properties.models = models
            Object.assign(node, {id, title, properties}, own && {color: '#323', bgcolor: '#535'}, colors)
            const defaults = (node.widgets ?? []).map(widget => widget.value) // else those of the last graph's nodes
            graph.add(node)
            for (const [index, widget] of (node.widgets ?? []).entries()) {
                const value = inputs[widget.name]?.value ?? inputs[widget.name] ?? defaults[index]
                // A text that has a wire shows none; some front ends remember one of another graph's node.
                const unused = widget.type === 'customtext' ? '' : defaults[index]
                widget.value = value.node ? unused : value
                // The same seed at each Run, so that what changes is what the reader changed.
                if (widget.name === 'control_after_generate') widget.value = 'fixed'
            }
            if (text) node.widgets[0].value = text
            // What a graph sets otherwise than the node is not to be folded away.
            const set = node.widgets?.some(({options, value}, index) => options?.advanced && value !== defaults[index])
            if (set && !collapsed) node.showAdvanced = true
            node.pos = [200, 100] // all in one place, for the canvas draws and measures what is in view
            node.setSize([width, node.computeSize()[1] + room])
            if (collapsed) node.flags.collapsed = true
        }
        for (const {id, title, inputs} of nodes) {
            const node = graph.getNodeById(id)
            const taken = [...node.inputs, ...node.widgets ?? []].map(({name}) => name)
            const unknown = Object.keys(inputs).filter(name => !taken.includes(name))
            if (unknown.length) throw Error(`${node.type} '${title}' has no input ${unknown}`)
            node.inputs.forEach(({name}, slot) => {
                if (!inputs[name]?.node) return
                const source = graph.getNodeById(inputs[name].node), wanted = inputs[name].output.toLowerCase()
                const output = source.outputs.findIndex(({name}) => name.toLowerCase() === wanted)
                if (!source.connect(output, node, slot)) throw Error(`'${title}': ${name} takes no ${wanted}`)
            })
        }
        app.canvas.ds.reset()
        const {workflow, output} = await app.graphToPrompt()
        for (const [id, node] of Object.entries(output)) {
            const {nodeData} = graph.getNodeById(id).constructor, {required = [], optional = []} = nodeData.input_order
            const given = nodes.find(node => node.id === Number(id)).inputs
            const open = required.filter(name => !(name in node.inputs) && !given[name]?.entry)
            if (open.length) throw Error(`${node.class_type} '${node._meta.title}': connect the input ${open}`)
            const defined = [...required, ...optional].filter(name => name in node.inputs)
            node.inputs = Object.fromEntries(defined.map(name => [name, node.inputs[name]]))
        }
        for (const node of workflow.nodes) {
            // Of some it saves none, and reads the others back in wrong places.
            if ([...node.widgets_values ?? []].includes(undefined)) delete node.widgets_values
        }
        return JSON.stringify({workflow, output}) // JSON has no undefined, of which a graph is full
    },

    // Makes one node of the graph that is open; gives the graph with that node alone. Its inputs and outputs are
    // {name, ends}, an end an input or an output {node, slot} of a node inside.
    enclose({name, width, room, inputs, outputs}) {
        const {graph} = app
        const {subgraph, node} = graph.convertToSubgraph(new Set([...graph.nodes, ...graph.groups]))
        for (const widget of [...node.widgets]) node.removeWidget(widget) // what the front end exposes by itself
        const expose = (add, kind, {name, ends}) => {
            const found = ends.map(({node, slot}) => {
                const inner = subgraph.getNodeById(node)
                return [inner[kind].find(({name}) => name.toLowerCase() === slot.toLowerCase()), inner]
            })
            const exposed = subgraph[add](name, found[0][0].type)
            for (const [slot, inner] of found) {
                if (slot.widget) slot.label = name // older front ends show that of the widget inside
                if (!exposed.connect(slot, inner)) throw Error(`${node.title}: ${name} takes no ${slot.type}`)
            }
        }
        for (const input of inputs) expose('addInput', 'inputs', input)
        for (const output of outputs) expose('addOutput', 'outputs', output)
        const left = Math.min(...subgraph.groups.map(({pos}) => pos[0]))
        const right = Math.max(...subgraph.groups.map(({pos, size}) => pos[0] + size[0]))
        subgraph.inputNode.arrange()
        subgraph.outputNode.arrange()
        subgraph.inputNode.pos = [left - 50 - subgraph.inputNode.size[0], 0]
        subgraph.outputNode.pos = [right + 50, 0]
        Object.assign(node, {title: name, pos: [0, 0], color: '#323', bgcolor: '#535'})
        subgraph.name = name
        node.setSize([width, node.computeSize()[1] + room])
        return JSON.stringify(graph.serialize())
    },

    // Gives nodes the picture that a step of their sampling shows.
    async preview(ids) {
        const canvas = Object.assign(document.createElement('canvas'), {width: 256, height: 256})
        const blob = await new Promise(done => canvas.toBlob(done))
        for (const id of ids.map(String)) {
            const detail = {blob, nodeId: id, displayNodeId: id, parentNodeId: id, realNodeId: id, jobId: '1'}
            comfyAPI.api.api.dispatchCustomEvent('b_preview_with_metadata', detail)
        }
    },

    // Whether they show it.
    previewed(ids) {
        app.canvas.setDirty(true, true)
        return ids.every(id => LiteGraph.vueNodesMode
            ? document.querySelector(`[data-node-id="${id}"] img`)?.naturalWidth
            : app.graph.getNodeById(id).imgs?.length)
    },

    // Of each node the height below its title bar that all it shows takes.
    heights() {
        return app.graph.nodes.map(node => {
            const element = LiteGraph.vueNodesMode && document.querySelector(`[data-node-id="${node.id}"]`)
            const height = element ? element.offsetHeight - LiteGraph.NODE_TITLE_HEIGHT : node.size[1]
            const text = element
                ? element.querySelector('.widget-markdown')
                : node.type === 'MarkdownNote' && node.widgets[0].element.querySelector('.tiptap')
            return [Number(node.id), Math.ceil(height + (text ? text.scrollHeight - text.clientHeight : 0))]
        })
    },
}
