// The parts of the prototype's App that its plan leaves out.
Object.assign(App.prototype, {
  setupFormSubmit() {},
  loadInitialData() {},
  restoreTasks() {},
  executeGeneration(id) {
    shown.push(['executeGeneration', id]);
  },
});
const app = new App();
Object.assign(app, { activeTasks: new Map(), taskIdCounter: 0 });
app.init();
