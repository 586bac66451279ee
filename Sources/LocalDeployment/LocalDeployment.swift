// LocalDeployment
